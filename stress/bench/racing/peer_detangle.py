"""detangle: asyncio alone, with the options it has by default."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from stress.bench.racing.outcome import REPLAYS, Budget, Outcome, Subject

__all__ = ["check"]


def check(subject: Subject, budget: Budget) -> Outcome:
    """Explore *subject*; the counterexample is replayed outside the time that counts."""
    if subject.kind != "async":
        return Outcome("error", detail="not run: it knows no threads")
    import detangle

    program = _program(subject)
    started = time.monotonic()
    try:
        stats = detangle.explore(
            program,
            runs=budget.schedules,
            max_duration=budget.seconds,
            database=False,
            seed=0,
        )
    except detangle.BugFound as found:
        report: Any = found.report
        seconds = time.monotonic() - started
        return Outcome(
            "found",
            report.runs + report.shrink_attempts,
            report.runs,
            seconds,
            preemptions=report.deviations,
            replayed=_replay(program, report),
            detail=report.failure.headline().split("\n")[0][:200],
        )
    seconds = time.monotonic() - started
    if stats.exhausted:
        return Outcome("pass", stats.runs, None, seconds, bound=f"all of {stats.strategy}")
    return Outcome("inconclusive", stats.runs, None, seconds, detail=stats.summary()[:200])


def _program(subject: Subject) -> Any:
    async def program() -> None:
        state = subject.module.make_state()
        await asyncio.gather(*(call() for call in subject.module.threads(state)))
        assert subject.module.invariant(state), "the invariant does not hold"

    return program


def _replay(program: Any, report: Any) -> int:
    import detangle

    results = [
        detangle.replay(program, report.token, raise_on_failure=False) for _ in range(REPLAYS)
    ]
    return sum(
        result.failure is not None and result.failure.signature() == report.failure.signature()
        for result in results
    )
