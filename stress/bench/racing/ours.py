"""
Our own checker, as `explore()` runs it, but for one thing: it stops at the first failure.

`explore()` goes on after one that only free-threaded builds can have, and looks for another that
builds with the GIL can have too.
"""

from __future__ import annotations

from lmi_runtime.stress.callables import CallableProgram
from lmi_runtime.stress.control import controlled, execute
from lmi_runtime.stress.exploring import search_under_control
from lmi_runtime.stress.model import Granularity
from lmi_runtime.stress.program import Chooser, Execution, RunOptions
from lmi_runtime.stress.search import (
    Found,
    SearchResult,
    SearchSettings,
    decode,
    reproduce,
)
from stress.bench.racing.outcome import REPLAYS, Budget, Outcome, Subject

__all__ = ["check"]


def check(subject: Subject, budget: Budget) -> Outcome:
    """Explore *subject*; the counterexample is replayed outside the time that counts."""
    program = CallableProgram(
        # The module is loaded in here, under control: it may make locks.
        setup=lambda: subject.module.make_state(),
        participants=lambda state: subject.module.threads(state),
        invariant=lambda state: bool(subject.module.invariant(state)),
        name=subject.path.stem,
    )
    settings = SearchSettings(
        budget_s=budget.seconds, max_schedules=budget.schedules, stop_at="any"
    )
    result = search_under_control(program, settings)
    if not result.found:
        return _without_a_find(result)
    return _with_a_find(program, result, result.found[0])


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

    def run(chooser: Chooser, record: bool) -> Execution:
        options = RunOptions(granularity=Granularity(replay.granularity), record=record)
        return execute(program, chooser, options)

    with controlled():
        runs = [reproduce(replay, run) for _ in range(REPLAYS)]
    return sum(
        any(each.key == found.complaint.key for each in execution.complaints) for execution in runs
    )
