"""The library's door: any callables, coroutine functions or objects under the chooser."""

from __future__ import annotations

import dataclasses
import inspect
import platform
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from lmi_runtime.stress.callables import CallableProgram
from lmi_runtime.stress.control import INTERNAL, controlled, execute
from lmi_runtime.stress.model import (
    Conflict,
    Finding,
    Granularity,
    Report,
    Step,
    Verdict,
)
from lmi_runtime.stress.oracles.conflicts import conflicts
from lmi_runtime.stress.program import Program, RunOptions
from lmi_runtime.stress.search import (
    Found,
    Progress,
    SearchResult,
    SearchSettings,
    decode,
    search,
)

__all__ = ["adjusted", "explore", "granularities_of", "report_of", "search_under_control"]

State = TypeVar("State")

GranularityName = Literal["gil", "free-threaded", "line", "default"]


def explore(
    setup: Callable[[], State],
    participants: Callable[[State], Sequence[Callable[[], Any]]] | Sequence[Callable[[State], Any]],
    invariant: Callable[[State], Any] | None = None,
    *,
    name: str = "",
    granularity: GranularityName = "default",
    preemptions: int = 2,
    schedules: int = 2000,
    budget_s: float = 60.0,
    backend: Literal["asyncio", "trio"] = "asyncio",
    include: Iterable[str] = (),
    cancel: bool = False,
    seed: int = 0,
    replay: str | None = None,
    examples: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """
    Look for an order of events under which the participants fail, and make it small.

    Functions run in real threads, coroutine functions as tasks of one event loop; all of them
    in one run, one at a time, in virtual time. A run fails when a participant raises, when
    the invariant does not hold at the end, or when nobody can go on.

    Args:
        setup: Makes the state of one run. Called before each, so locks made in it are under
            control; a module that makes locks when imported is to be imported under
            `controlled()`.
        participants: What runs at once: a function from the state to callables without
            arguments, or callables that take the state.
        invariant: Of the state, when all have ended: returns False or raises if it is broken.
        name: What reports call it.
        granularity: Where threads may be preempted: ``gil`` where CPython with the GIL can
            switch, ``free-threaded`` before every access to shared state, ``line``; by default
            the first two, and what only the second finds is a warning.
        preemptions: Every schedule with at most so many is tried, as far as the budget goes.
        schedules: At most so many runs.
        budget_s: At most so many real seconds. With ``math.inf`` only `schedules` ends it, and
            the answer is the same on a slow machine as on a fast one.
        backend: Which event loop runs coroutine functions.
        include: Packages to watch besides your own code.
        cancel: Also cancel tasks wherever they wait.
        seed: The same seed makes the same runs.
        replay: A token from an earlier report; only that schedule is run.
        examples: Directory in which failures are kept and tried first the next time.
        progress: Called after every run.

    Returns:
        What was found and how much was covered. `Report.verdict` is ``inconclusive`` when
        something was not under control.

    Raises:
        TokenError: The token is no token, or of another version.

    Thread safety: one exploration at a time in a process. While it lasts the standard library's
    locks and clocks are replaced; threads that take no part see them work as ever.
    """
    calls = _as_function(participants)
    subject = name or getattr(setup, "__qualname__", "program")
    program = CallableProgram(setup, calls, invariant, subject)
    settings = SearchSettings(
        budget_s=budget_s,
        max_schedules=schedules,
        max_bound=preemptions,
        granularities=granularities_of(granularity),
        seed=seed,
        options=RunOptions(include=tuple(include), cancels=cancel, backend=backend),
        examples=examples,
    )
    settings = adjusted(settings, replay, progress)
    return report_of(search_under_control(program, settings), settings, subject=subject)


def adjusted(
    settings: SearchSettings,
    replay: str | None,
    progress: Callable[[Progress], None] | None,
) -> SearchSettings:
    """
    The same search, or only the schedule of a token; told of, if anybody wants to know.

    Raises:
        TokenError: `replay` is no token, or of another version.
    """
    if replay is not None:
        again = decode(replay)
        settings = dataclasses.replace(
            settings,
            max_schedules=1,
            first=(again,),
            granularities=(again.granularity,),
            examples=None,
        )
    if progress is not None:
        settings = dataclasses.replace(settings, progress=progress)
    return settings


def search_under_control(program: Program, settings: SearchSettings) -> SearchResult:
    """`search` with the primitives replaced once, and not for every run."""
    with controlled():
        return search(program, execute, settings)


def granularities_of(name: GranularityName) -> tuple[Granularity, ...]:
    """
    What a user means by the name.

    Raises:
        ValueError: There is none of this name.
    """
    if name == "default":
        return (Granularity.GIL, Granularity.FREE_THREADED)
    return (Granularity(name),)


def report_of(
    result: SearchResult,
    settings: SearchSettings,
    *,
    subject: str,
    mode: str = "threads",
    notes: Sequence[str] = (),
) -> Report:
    """Make a report of what a search found: explained, and with a verdict."""
    findings = tuple(explained(found) for found in result.found)
    return Report(
        subject=subject,
        verdict=_verdict(findings, result),
        findings=findings,
        coverage=result.coverage,
        notes=(*result.notes, *notes),
        seconds=result.seconds,
        seed=settings.seed,
        python=platform.python_version(),
        mode=mode,
    )


def explained(found: Found) -> Finding:
    """The finding with what nothing orders, and without the insides of primitives."""
    finding = found.finding
    clashes = conflicts(finding.steps, finding.actors)
    steps, clashes = _without_insides(finding.steps, clashes)
    path = finding.object_path
    if finding.oracle not in ("deadlock", "isolation", "environment", "leak", "serial"):
        path = clashes[0].location.path if clashes else path
    return dataclasses.replace(finding, steps=steps, conflicts=clashes, object_path=path)


def _verdict(findings: Sequence[Finding], result: SearchResult) -> Verdict:
    if any(not finding.warning for finding in findings):
        return Verdict.FAILED
    coverage = result.coverage
    if coverage.uncontrolled or coverage.schedules == 0 or coverage.bound < 0:
        return Verdict.INCONCLUSIVE
    return Verdict.PASSED


def _without_insides(
    steps: Sequence[Step], clashes: Sequence[Conflict]
) -> tuple[tuple[Step, ...], tuple[Conflict, ...]]:
    """Drop steps that only order; a deviation marked on one moves to what follows."""
    kept: list[Step] = []
    moved: dict[int, int] = {}
    deviates = False
    for step in steps:
        deviates = deviates or step.deviates
        if step.detail == INTERNAL:
            continue
        moved[step.index] = len(kept)
        kept.append(dataclasses.replace(step, index=len(kept), deviates=deviates))
        deviates = False
    return tuple(kept), tuple(
        dataclasses.replace(clash, first=moved[clash.first], second=moved[clash.second])
        for clash in clashes
        if clash.first in moved and clash.second in moved
    )


def _as_function(
    participants: Callable[[Any], Sequence[Callable[[], Any]]] | Sequence[Callable[[Any], Any]],
) -> Callable[[Any], Sequence[Callable[[], Any]]]:
    if callable(participants):
        return participants
    functions = tuple(participants)
    if not functions:
        raise ValueError("There are no participants: give at least one function.")

    def bound(state: Any) -> list[Callable[[], Any]]:
        return [_with_state(function, state) for function in functions]

    return bound


def _with_state(function: Callable[[Any], Any], state: Any) -> Callable[[], Any]:
    if inspect.iscoroutinefunction(function):

        async def call_async() -> Any:
            return await function(state)

        call_async.__name__ = getattr(function, "__name__", "participant")
        return call_async

    def call() -> Any:
        return function(state)

    call.__name__ = getattr(function, "__name__", "participant")
    return call
