"""
What a reader needs to see of a counterexample, in which rows, and what may be left out.

Steps on one source line become one `Row`. Rows that do not matter for the failure are folded
into a `Gap`, first the least telling ones, until what is left can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath

from lmi_runtime.stress.model import (
    Access,
    ActorInfo,
    Conflict,
    Deviation,
    Finding,
    Location,
    Place,
    Step,
)

__all__ = ["Gap", "Row", "Span", "Story", "tell"]

BRIEF = 14
"""A story of at most so many rows is told whole."""

READABLE = 60
"""Rows beyond which more is folded, even what is mildly telling."""

FOLD_FROM = 2
"""Fewer rows than this are shown: the gap would take as much room."""

ALONE = {"start", "end", "note", "cancel"}
"""Steps that have a row of their own."""


@dataclass(frozen=True, slots=True)
class Row:
    """
    What one actor did on one source line without being interrupted.

    Attributes:
        number: Position among all rows, also the folded ones, from 1.
        steps: At least one, all of one actor.
        deviation: The one that took place just before, when the schedule tells which.
        after: The actor that was running before, if it was another.
        goes_on: The actor was interrupted in the middle of this line.
        telling: 0 touches nothing shared, 1 touches something shared, 2 a lock or the like,
            3 the object at fault, 4 the scheduler's deviations, beginnings, ends, the conflict.
    """

    number: int
    steps: tuple[Step, ...]
    deviation: Deviation | None = None
    after: int | None = None
    goes_on: bool = False
    telling: int = 0

    @property
    def actor(self) -> int:
        """Number of the one who did it."""
        return self.steps[0].actor

    @property
    def place(self) -> Place | None:
        """Where it was done, when known."""
        return self.steps[0].place

    @property
    def deviates(self) -> bool:
        """The scheduler left the default just before."""
        return self.steps[0].deviates

    @property
    def source(self) -> str:
        """The source line."""
        return next((step.source for step in self.steps if step.source), "")


@dataclass(frozen=True, slots=True)
class Gap:
    """Rows that are folded."""

    rows: tuple[Row, ...]

    @property
    def actors(self) -> tuple[int, ...]:
        """Whose they are, in order of appearance."""
        return tuple(dict.fromkeys(row.actor for row in self.rows))


@dataclass(frozen=True, slots=True)
class Span:
    """
    A lock that is held, or a wait, over several rows.

    Attributes:
        actor: Who holds or waits.
        subject: The lock, or what is waited for.
        first: Number of the first row.
        last: Number of the last; None if it does not end.
    """

    actor: int
    subject: str
    first: int
    last: int | None


@dataclass(frozen=True, slots=True)
class Story:
    """
    A finding, laid out.

    Attributes:
        finding: Where it comes from.
        actors: Those that did something, in order of creation.
        rows: All of them.
        shown: Rows and gaps in order, without a row missing.
        focus: The locations at fault.
        shared: Locations that several actors touched, at least one of them not only reading.
        held: Locks.
        waits: What was waited for.
        conflict: The one that explains the finding, if there is one.
        file_names: The short name of each file, in order of appearance.
    """

    finding: Finding
    actors: tuple[ActorInfo, ...]
    rows: tuple[Row, ...]
    shown: tuple[Row | Gap, ...]
    focus: frozenset[Location]
    shared: frozenset[Location]
    held: tuple[Span, ...]
    waits: tuple[Span, ...]
    conflict: Conflict | None
    file_names: Mapping[str, str]

    def name(self, actor: int) -> str:
        """What its creator calls it."""
        return next((a.name for a in self.actors if a.number == actor), f"actor {actor}")

    def row_of(self, step: int) -> Row | None:
        """The row that holds the step with this index."""
        return next((r for r in self.rows if any(s.index == step for s in r.steps)), None)

    def holder(self, subject: str, row: int, *, besides: int) -> Span | None:
        """Who held the lock at that row."""
        for span in self.held:
            within = span.first <= row and (span.last is None or row <= span.last)
            if span.subject == subject and span.actor != besides and within:
                return span
        return None

    def file_name(self, place: Place) -> str:
        """The shortest tail of the path that no other file of the story has."""
        return self.file_names.get(place.file, place.file)

    def files(self) -> list[str]:
        """Whole paths, in order of appearance."""
        return list(self.file_names)

    def accesses(self, row: Row) -> list[Access]:
        """What a reader should know of the row's accesses: to what is shared or at fault."""
        wanted = self.focus | self.shared
        return _merged(a for step in row.steps for a in step.accesses if a.location in wanted)


def tell(finding: Finding) -> Story:
    """Lay out a finding."""
    focus, shared = _focus(finding), _shared(finding.steps)
    conflict = _conflict(finding, focus)
    rows = _rows(finding, _weigher(finding, focus, shared, conflict))
    present = {step.actor for step in finding.steps}
    known = {actor.number for actor in finding.actors}
    strangers = [ActorInfo(n, f"actor {n}", "thread") for n in sorted(present - known)]
    actors = sorted(
        [*(actor for actor in finding.actors if actor.number in present), *strangers],
        key=lambda actor: actor.number,
    )
    return Story(
        finding=finding,
        actors=tuple(actors),
        rows=rows,
        shown=_folded(rows),
        focus=focus,
        shared=shared,
        held=tuple(_spans(rows, _begins_hold, _ends_hold)),
        waits=tuple(_spans(rows, _begins_wait, _ends_wait)),
        conflict=conflict,
        file_names=_file_names(finding.steps),
    )


def _file_names(steps: Sequence[Step]) -> dict[str, str]:
    parts = {step.place.file: PurePath(step.place.file).parts for step in steps if step.place}
    return {file: _shortest_tail(file, list(parts.values())) for file in parts}


def _shortest_tail(file: str, others: Sequence[tuple[str, ...]]) -> str:
    parts = PurePath(file).parts
    for length in range(1, len(parts) + 1):
        tail = parts[-length:]
        if sum(other[-length:] == tail for other in others) == 1:
            return "/".join(tail).replace("//", "/")
    return file


# ------------------------------------------------------------------------- what is at fault


def _locations(steps: Sequence[Step]) -> Iterator[tuple[Step, Access]]:
    return ((step, access) for step in steps for access in step.accesses)


def _focus(finding: Finding) -> frozenset[Location]:
    path = finding.object_path
    if path:
        inside = (path, path + ".", path + "[")
        named = {
            access.location
            for _, access in _locations(finding.steps)
            if access.location.path == path or access.location.path.startswith(inside[1:])
        }
        if named:
            return frozenset(named)
    return frozenset(conflict.location for conflict in finding.conflicts[:1])


def _shared(steps: Sequence[Step]) -> frozenset[Location]:
    actors: dict[Location, set[int]] = {}
    written = set()
    for step, access in _locations(steps):
        actors.setdefault(access.location, set()).add(step.actor)
        if access.mode != "read":
            written.add(access.location)
    return frozenset(place for place, by in actors.items() if len(by) > 1 and place in written)


def _conflict(finding: Finding, focus: frozenset[Location]) -> Conflict | None:
    at_fault = [conflict for conflict in finding.conflicts if conflict.location in focus]
    return next(iter(at_fault or finding.conflicts), None)


# ------------------------------------------------------------------------- rows


def _weigher(
    finding: Finding,
    focus: frozenset[Location],
    shared: frozenset[Location],
    conflict: Conflict | None,
) -> Callable[[Step], int]:
    ends = {conflict.first, conflict.second} if conflict else set()
    last = {step.actor: step.index for step in finding.steps}
    edges = ends | set(last.values())

    def weigh(step: Step) -> int:
        touched = {access.location for access in step.accesses}
        if step.deviates or step.index in edges or step.kind in {"start", "end", "cancel", "note"}:
            return 4
        if touched & focus:
            return 3
        if step.kind != "run":
            return 2
        return 1 if touched & shared else 0

    return weigh


def _rows(finding: Finding, weigh: Callable[[Step], int]) -> tuple[Row, ...]:
    deviations = _deviations(finding)
    groups: list[list[Step]] = []
    for step in finding.steps:
        if groups and _same_row(groups[-1][-1], step):
            groups[-1].append(step)
        else:
            groups.append([step])
    rows: list[Row] = []
    latest: dict[int, Row] = {}
    for number, steps in enumerate(groups, 1):
        actor, telling = steps[0].actor, max(map(weigh, steps))
        before = rows[-1].actor if rows else actor
        row = Row(
            number,
            tuple(steps),
            deviations.get(steps[0].index),
            None if before == actor else before,
            _goes_on(latest.get(actor), steps[0]),
            telling,
        )
        if row.deviates and rows:  # what was interrupted matters as much as what came instead
            rows[-1] = _raised(rows[-1])
            latest[rows[-1].actor] = rows[-1]
        latest[actor] = row
        rows.append(row)
    return tuple(rows)


def _raised(row: Row) -> Row:
    return Row(row.number, row.steps, row.deviation, row.after, row.goes_on, 4)


def _deviations(finding: Finding) -> dict[int, Deviation]:
    """Which deviation each deviating step stands for; none if they cannot be matched."""
    deviating = [step.index for step in finding.steps if step.deviates]
    if len(deviating) != len(finding.schedule):
        return {}
    return dict(zip(deviating, finding.schedule, strict=True))


def _line(place: Place | None) -> tuple[str, int, str] | None:
    return (place.file, place.line, place.function) if place else None


def _same_row(before: Step, step: Step) -> bool:
    if step.actor != before.actor or step.deviates or step.place is None:
        return False
    if step.kind == "wake" or {step.kind, before.kind} & ALONE or _loops(before, step):
        return False
    return _line(step.place) == _line(before.place)


def _loops(before: Step, step: Step) -> bool:
    """Back at the beginning of the line: the next round of a loop is a row of its own."""
    if before.place is None or step.place is None or step.kind != "run":
        return False
    return 0 <= step.place.offset < before.place.offset


def _goes_on(before: Row | None, step: Step) -> bool:
    if before is None or step.kind == "start" or step.place is None:
        return False
    last = before.steps[-1]
    return _line(last.place) == _line(step.place) and not _loops(last, step)


# ------------------------------------------------------------------------- folding


def _folded(rows: Sequence[Row]) -> tuple[Row | Gap, ...]:
    if len(rows) <= BRIEF:
        return tuple(rows)
    for threshold in (1, 2, 3, 4):
        shown = _fold(rows, threshold)
        if len(shown) <= READABLE:
            return shown
    return shown


def _fold(rows: Sequence[Row], threshold: int) -> tuple[Row | Gap, ...]:
    shown: list[Row | Gap] = []
    for telling, group in groupby(rows, lambda row: row.telling >= threshold):
        members = tuple(group)
        if telling or len(members) < FOLD_FROM:
            shown.extend(members)
        else:
            shown.append(Gap(members))
    return tuple(shown)


# ------------------------------------------------------------------------- spans


def _begins_hold(step: Step) -> bool:
    return step.kind == "acquire"


def _ends_hold(step: Step) -> bool:
    return step.kind == "release"


def _begins_wait(step: Step) -> bool:
    return step.kind in {"wait", "join", "sleep", "await"}


def _ends_wait(step: Step) -> bool:
    return not _begins_wait(step)  # whatever it does next, it does not wait any more


def _spans(
    rows: Sequence[Row], begins: Callable[[Step], bool], ends: Callable[[Step], bool]
) -> Iterator[Span]:
    waiting = begins is _begins_wait
    opened: dict[tuple[int, object], tuple[str, int, int]] = {}
    for row in rows:
        for step in row.steps:
            # One who waits does so for one thing; locks are told apart.
            key = (step.actor, None if waiting else step.subject_id or step.subject)
            if begins(step):
                subject, first, depth = opened.get(key, (step.subject, row.number, 0))
                opened[key] = subject, first, depth + 1
            elif ends(step) and key in opened:
                subject, first, depth = opened.pop(key)
                if depth > 1 and not waiting:
                    opened[key] = subject, first, depth - 1
                else:
                    yield Span(step.actor, subject, first, row.number)
    for (actor, _), (subject, first, _) in opened.items():
        yield Span(actor, subject, first, None)


def _merged(accesses: Iterator[Access]) -> list[Access]:
    """Without repetitions: one line often loads the same thing twice."""
    return list(dict.fromkeys(accesses))
