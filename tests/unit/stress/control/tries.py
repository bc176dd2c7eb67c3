"""What the tests here ask of small concurrent programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lmi_runtime.stress import explore
from lmi_runtime.stress.callables import CallableProgram
from lmi_runtime.stress.control import execute
from lmi_runtime.stress.model import Finding, Granularity, Report, Schedule, Verdict
from lmi_runtime.stress.program import Execution, RunOptions
from lmi_runtime.stress.search.chooser import Scripted
from tests.unit.stress.budgets import AMPLE_S

Participants = Sequence[Callable[[Any], Any]]


def told(report: Report) -> str:
    """Why a test failed."""
    return "\n".join(
        [finding.sentence + finding.traceback for finding in report.findings]
        + [*report.coverage.uncontrolled, repr(report.coverage)]
    )


def holds(
    setup: Callable[[], Any],
    participants: Participants,
    invariant: Callable[[Any], Any] | None = None,
    *,
    preemptions: int = 2,
    schedules: int = 300,
) -> Report:
    """Nothing fails under any schedule with so many preemptions, and all of them were tried."""
    report = explore(
        setup,
        participants,
        invariant,
        preemptions=preemptions,
        schedules=schedules,
        budget_s=AMPLE_S,
    )
    assert report.verdict is Verdict.PASSED, told(report)
    assert not report.findings, told(report)
    assert report.coverage.bound >= preemptions, told(report)
    return report


def fails(
    setup: Callable[[], Any],
    participants: Participants,
    invariant: Callable[[Any], Any] | None = None,
    *,
    oracle: str = "invariant",
    schedules: int = 2000,
) -> Finding:
    """A schedule is found under which the program fails, and it fails again when replayed."""
    report = explore(setup, participants, invariant, schedules=schedules, budget_s=AMPLE_S)
    assert report.findings, told(report)
    finding = report.findings[0]
    assert finding.oracle == oracle, told(report)
    again = explore(setup, participants, invariant, replay=finding.token)
    assert [each.oracle for each in again.findings] == [oracle], told(again)
    return finding


def run(
    setup: Callable[[], Any],
    participants: Participants,
    *,
    schedule: Schedule = (),
    granularity: Granularity = Granularity.GIL,
    **options: Any,
) -> Execution:
    """One run."""
    program = CallableProgram(
        setup,
        lambda state: [_bound(each, state) for each in participants],
        None,
        "program",
    )
    return execute(program, Scripted(schedule), RunOptions(granularity=granularity, **options))


def _bound(participant: Callable[[Any], Any], state: Any) -> Callable[[], Any]:
    def call() -> Any:
        return participant(state)

    call.__name__ = participant.__name__
    return call
