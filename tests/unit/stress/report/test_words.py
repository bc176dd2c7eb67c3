from __future__ import annotations

from dataclasses import replace

import pytest

from lmi_runtime.stress.model import Coverage, Deviation, Finding, Granularity, Report, Verdict
from lmi_runtime.stress.report.words import builds, claim, plural, size, summary
from tests.support.stress_reports import SAMPLES, lost_update, two_findings

GIL, FREE, LINE = Granularity.GIL, Granularity.FREE_THREADED, Granularity.LINE
PREEMPT, FORCED = Deviation("preempt", 0, 0, 1), Deviation("forced", 0, 0, 1)
TASK, CANCEL = Deviation("task", 0, 0, 1), Deviation("cancel", 0, 0, 1)


def passed(mode: str = "threads", **coverage: object) -> Report:
    facts = {"schedules": 9, "points": 41, **coverage}
    return Report("app.handler", Verdict.PASSED, coverage=Coverage(**facts), mode=mode)


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (passed(schedules=0), ["nothing was run"]),
        (
            passed(bound=2, stopped_by="exhausted"),
            ["no failure with <= 2 preemptions at 41 switch points: exhaustive"],
        ),
        (
            passed(bounds={GIL: 2}),
            ["no failure with <= 2 preemptions at 41 switch points: exhaustive (GIL builds)"],
        ),
        (
            passed(bound=1, stopped_by="budget"),
            [
                "no failure with <= 1 preemption at 41 switch points: exhaustive; "
                "<= 2 was not exhausted: the budget ran out"
            ],
        ),
        (
            passed(bounds={FREE: 0, LINE: -1}, stopped_by="budget"),
            [
                "no failure with 0 preemptions at 41 switch points: exhaustive (free-threaded "
                "builds); <= 2 was not exhausted: the budget ran out",
                "no bound was exhausted, not even 0 preemptions (switching at every line): "
                "the budget ran out",
            ],
        ),
        (
            passed("async", bound=2, points=1),
            ["no failure with <= 2 reorderings at 1 switch point: exhaustive"],
        ),
    ],
)
def test_claims_say_exactly_what_was_exhausted(report: Report, said: list[str]) -> None:
    assert claim(report) == said


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_is_called_safe(name: str) -> None:
    report = SAMPLES[name]()

    assert "safe" not in summary(report) + " ".join(claim(report))


@pytest.mark.parametrize(
    ("schedule", "preemptions", "minimal", "said"),
    [
        ((), 0, False, "no preemption: it fails when everything runs in turn"),
        ((FORCED,), 0, True, "no preemption: only a choice of who goes on after a wait"),
        ((PREEMPT,), 1, True, "1 preemption; every schedule with fewer was tried and holds"),
        ((PREEMPT, FORCED, PREEMPT), 2, False, "2 preemptions; not proven to be the fewest"),
        ((TASK, CANCEL), 2, False, "1 reordering and 1 cancellation; not proven to be the fewest"),
        ((), 3, False, "3 preemptions; not proven to be the fewest"),
    ],
)
def test_size(schedule: tuple[Deviation, ...], preemptions: int, minimal: bool, said: str) -> None:
    finding = Finding("serial", "x", schedule=schedule, preemptions=preemptions, minimal=minimal)

    assert size(finding) == said


@pytest.mark.parametrize(
    ("on", "said"),
    [
        (("gil", "free-threaded"), "every build, with the GIL and free-threaded"),
        (("free-threaded",), "free-threaded builds only: a GIL build cannot switch there"),
        (("gil",), "builds with the GIL"),
        ((), "unknown"),
    ],
)
def test_builds(on: tuple[str, ...], said: str) -> None:
    assert builds(Finding("serial", "x", builds=on)) == said


def test_summary_counts_failures_and_warnings_apart() -> None:
    report = two_findings()
    doubled = replace(report, findings=(*lost_update().findings, *report.findings))

    assert summary(report).endswith("free-threaded; 1 warning")
    assert summary(doubled).endswith("free-threaded; 1 more failure; 1 warning")


def test_summary_names_what_was_not_under_control() -> None:
    assert "not under control: invocation 1 was 2.0 s inside" in summary(SAMPLES["inconclusive"]())


def test_plural() -> None:
    said = [plural(1, "line"), plural(2, "line"), plural(3, "entry"), plural(1200, "step")]
    assert said == ["1 line", "2 lines", "3 entries", "1,200 steps"]
