"""The sentences: verdicts, builds, how small, how much was tried. Nothing is ever called safe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lmi_runtime.stress.model import Coverage, Finding, Granularity, Report, Verdict
from lmi_runtime.stress.report.characters import one_line

__all__ = [
    "ORACLES",
    "Oracle",
    "builds",
    "claim",
    "effort",
    "heading",
    "limits",
    "plural",
    "replay_command",
    "size",
    "summary",
    "verdict_words",
]


class Oracle(NamedTuple):
    """What an oracle looks for, and how that is usually mended."""

    title: str
    meaning: str
    mend: str


ORACLES = {
    "isolation": Oracle(
        "One invocation's data appears in another",
        "A value that belongs to one invocation was found in another's result, logs, metrics, "
        "spans, errors, cache entries or files.",
        "Keep what belongs to one invocation in local or context variables, or in a cache keyed "
        "by tenant.",
    ),
    "serial": Oracle(
        "No serial order explains the outcome",
        "Results and final shared state equal those of no order in which the same invocations "
        "run one after the other.",
        "Make the read and the write that belongs to it one step: one lock around both.",
    ),
    "deadlock": Oracle(
        "Everybody waits",
        "Every participant waits for something that only a waiting one could provide.",
        "Take locks in one fixed order, and signal while the condition's lock is held.",
    ),
    "livelock": Oracle(
        "Steps without an end",
        "The run exceeds its switch points although everybody could go on.",
        "Wait on a condition or an event instead of in a loop.",
    ),
    "exception": Oracle(
        "An exception that serial runs do not raise",
        "An invocation raised although the same invocations one after the other do not.",
        "Make the check and the use that relies on it one step.",
    ),
    "invariant": Oracle(
        "An invariant is broken",
        "A condition that was to hold after every run does not hold after this one.",
        "Make all changes that belong together one step: one lock around them.",
    ),
    "leak": Oracle(
        "Something stays behind",
        "After the invocations ended there are leases, tasks, threads, context variables, file "
        "descriptors, files, log handlers or container entries that were not there before.",
        "Release in `finally` or with a context manager.",
    ),
    "environment": Oracle(
        "State of the whole process was changed",
        "An invocation changed the environment, the working folder, the locale, the umask, "
        "signal handlers, the global random state or a file with a fixed name.",
        "Pass the value as an argument; use a private folder and a `random.Random` of one's own.",
    ),
    "deadline": Oracle(
        "Cancellation leaves damage",
        "After a cancellation at one of its awaits an invocation left pools, caches, locks or "
        "state unsound.",
        "Restore in `finally`, and await nothing between taking and registering.",
    ),
    "linearizability": Oracle(
        "No order of the calls explains the answers",
        "What the object's methods returned fits no order of the calls that agrees with when "
        "they began and ended.",
        "Hold one lock for the whole of each method.",
    ),
}

SWITCHES = {
    Granularity.GIL: "GIL builds",
    Granularity.FREE_THREADED: "free-threaded builds",
    Granularity.LINE: "switching at every line",
}
BUILDS = {
    frozenset({"gil", "free-threaded"}): "every build, with the GIL and free-threaded",
    frozenset({"free-threaded"}): "free-threaded builds only: a GIL build cannot switch there",
    frozenset({"gil"}): "builds with the GIL",
}
LIMITS = "nothing is claimed about other events, more invocations or more {unit}s"
COSTS = {"preempt": "preemption", "task": "reordering", "cancel": "cancellation"}


def plural(number: int, noun: str) -> str:
    """``1 switch point``, ``2 switch points``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun[:-1] + 'ies' if noun.endswith('y') else noun + 's'}"


def replay_command(finding: Finding) -> str:
    """
    On one line, to be pasted into a shell, or into a call where there is no handler to be run.

    Empty if the finding has no token.
    """
    if not finding.token:
        return ""
    token = one_line(finding.token)
    # Only invocations of a handler have events.
    return f"lmi stress --replay {token}" if finding.events else f'explore(..., replay="{token}")'


def builds(finding: Finding) -> str:
    """On which builds of Python it can happen."""
    known = BUILDS.get(frozenset(finding.builds))
    return known or ", ".join(map(one_line, finding.builds)) or "unknown"


def size(finding: Finding) -> str:
    """How many deviations it takes, and whether fewer would do."""
    costs = _costs(finding)
    if finding.preemptions == 0:
        if not finding.schedule:
            return "no preemption: it fails when everything runs in turn"
        return "no preemption: only a choice of who goes on after a wait"
    if finding.minimal:
        return f"{costs}; every schedule with fewer was tried and holds"
    return f"{costs}; not proven to be the fewest"


def _costs(finding: Finding) -> str:
    counts: dict[str, int] = {}
    for deviation in finding.schedule:
        if deviation.cost:
            name = COSTS[deviation.kind]
            counts[name] = counts.get(name, 0) + deviation.cost
    if sum(counts.values()) != finding.preemptions:
        return plural(finding.preemptions, "preemption")
    return " and ".join(plural(number, name) for name, number in counts.items())


def heading(finding: Finding) -> str:
    """The title of the oracle that saw it."""
    oracle = ORACLES.get(finding.oracle)
    return oracle.title if oracle else one_line(finding.oracle)


def _unit(report: Report) -> str:
    return "reordering" if report.mode == "async" else "preemption"


def limits(report: Report) -> str:
    """What a search without a failure leaves open."""
    if report.verdict is Verdict.INCONCLUSIVE:
        return "this proves nothing, neither that it can fail nor that it cannot"
    return LIMITS.format(unit=_unit(report))


def verdict_words(report: Report) -> str:
    """``FAILED``, or ``PASSED`` and how many warnings."""
    said = report.verdict.value.upper()
    warnings = sum(finding.warning for finding in report.findings)
    link = ", and" if report.verdict is Verdict.FAILED else " with"
    return f"{said}{link} {plural(warnings, 'warning')}" if warnings else said


def _at(coverage: Coverage) -> str:
    return f" at {plural(coverage.points, 'switch point')}" if coverage.points else ""


def claim(report: Report) -> list[str]:
    """What the search established, a sentence for each granularity, and no more than that."""
    coverage = report.coverage
    if not coverage.schedules:
        return ["nothing was run"]
    if not coverage.bounds:
        return [_bounded(report, coverage.bound)]
    return [
        _bounded(report, bound, f" ({SWITCHES[granularity]})")
        for granularity, bound in coverage.bounds.items()
    ]


def _bounded(report: Report, bound: int, where: str = "") -> str:
    coverage, unit = report.coverage, _unit(report)
    if bound < 0:
        return f"no bound was exhausted, not even 0 {unit}s{where}{_why(report)}"
    amount = f"{'<= ' if bound else ''}{plural(bound, unit)}"
    exhausted = f"no failure with {amount}{_at(coverage)}: exhaustive{where}"
    if bound >= coverage.wanted_bound or coverage.stopped_by == "exhausted":
        return exhausted
    return f"{exhausted}; <= {coverage.wanted_bound} was not exhausted{_why(report)}"


def _why(report: Report) -> str:
    return {
        "failure": ": the search stops at a failure",
        "budget": ": the budget ran out",
        "uncontrolled": ": something was not under control",
    }.get(report.coverage.stopped_by, "")


def effort(report: Report) -> str:
    """How many schedules, from which searches, in what time."""
    coverage = report.coverage
    searches = ", ".join(
        f"{one_line(name)} {number:,}" for name, number in coverage.searches.items() if number
    )
    parts = [f"{plural(coverage.schedules, 'schedule')} in {report.seconds:.2f} s"]
    parts += [searches] if searches else []
    parts += [f"seed {report.seed}"]
    parts += [f"Python {one_line(report.python)}"] if report.python else []
    return "; ".join(parts)


def summary(report: Report) -> str:
    """
    The report in one line.

    Args:
        report: Of any verdict.
    """
    return f"{one_line(report.subject)}: {'; '.join(_summary(report))}"


def _summary(report: Report) -> Iterator[str]:
    failures = [finding for finding in report.findings if not finding.warning]
    warnings = len(report.findings) - len(failures)
    if report.verdict is Verdict.FAILED and failures:
        worst = failures[0]
        yield f"FAILED ({one_line(worst.oracle)}): {one_line(worst.sentence).rstrip('.')}"
        yield size(worst).partition(";")[0].partition(":")[0]
        yield builds(worst).partition(":")[0]
        if len(failures) > 1:
            yield plural(len(failures) - 1, "more failure")
    else:
        yield f"{report.verdict.value}: {', '.join(claim(report))}"
        yield plural(report.coverage.schedules, "schedule")
    if warnings:
        yield plural(warnings, "warning")
    if report.coverage.uncontrolled:
        yield f"not under control: {one_line(report.coverage.uncontrolled[0])}"
