"""
Our own checker, as `explore()` runs it, but for one thing: it stops at the first failure.

`explore()` goes on after one that only free-threaded builds can have, and looks for another that
builds with the GIL can have too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lmi_runtime.stress.callables import CallableProgram
from lmi_runtime.stress.control import controlled, execute
from lmi_runtime.stress.exploring import search_under_control
from lmi_runtime.stress.program import Chooser, Execution, RunOptions
from lmi_runtime.stress.search import (
    Found,
    Replay,
    SearchResult,
    SearchSettings,
    decode,
    reproduce,
)
from stress.bench.racing.outcome import REPLAYS, Budget, Outcome, Subject

__all__ = ["check", "find", "program_of", "run_of"]


def check(subject: Subject, budget: Budget) -> Outcome:
    """Explore *subject*; the counterexample is replayed outside the time that counts."""
    program = program_of(subject)
    result = find(program, budget)
    if not result.found:
        return _without_a_find(result)
    return _with_a_find(program, result, result.found[0])


def program_of(subject: Subject) -> CallableProgram:
    """What is searched; its module is loaded when the first run begins."""

    def invariant(state: Any) -> bool:
        return bool(subject.module.invariant(state))

    return CallableProgram(
        # The module is loaded in here, under control: it may make locks.
        setup=lambda: subject.module.make_state(),
        participants=lambda state: subject.module.threads(state),
        invariant=invariant,
        name=subject.path.stem,
    )


def find(program: CallableProgram, budget: Budget) -> SearchResult:
    """Search until the first failure."""
    settings = SearchSettings(
        budget_s=budget.seconds, max_schedules=budget.schedules, stop_at="any"
    )
    return search_under_control(program, settings)


def run_of(program: CallableProgram, replay: Replay) -> Callable[[Chooser, bool], Execution]:
    """Makes runs of the kind that *replay* was."""

    def run(chooser: Chooser, record: bool) -> Execution:
        return execute(program, chooser, RunOptions(granularity=replay.granularity, record=record))

    return run


def _without_a_find(result: SearchResult) -> Outcome:
    coverage = result.coverage
    bound = ", ".join(f"{each.value} {reached}" for each, reached in coverage.bounds.items())
    if coverage.uncontrolled or coverage.bound < 0:
        reason = "; ".join(coverage.uncontrolled) or "nothing was exhausted"
        return Outcome("inconclusive", coverage.schedules, None, result.seconds, detail=reason)
    return Outcome(
        "pass",
        coverage.schedules,
        None,
        result.seconds,
        bound=f"preemptions exhausted: {bound}; {coverage.points} points",
    )


def _with_a_find(program: CallableProgram, result: SearchResult, found: Found) -> Outcome:
    finding = found.finding
    return Outcome(
        "found",
        result.coverage.schedules,
        found.after,
        result.seconds,
        preemptions=finding.preemptions,
        gil_preemptions=finding.preemptions if "gil" in finding.builds else None,
        builds=finding.builds,
        claims_minimal=finding.minimal,
        replayed=_replay(program, found),
        detail=f"{finding.oracle}: {finding.sentence}"[:200],
    )


def _replay(program: CallableProgram, found: Found) -> int:
    replay = decode(found.finding.token)
    with controlled():
        runs = [reproduce(replay, run_of(program, replay)) for _ in range(REPLAYS)]
    return sum(
        any(each.key == found.complaint.key for each in execution.complaints) for execution in runs
    )
