"""Which accesses nothing orders: happens-before with vector clocks, from the steps of one run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from lmi_runtime.stress.model import Access, ActorInfo, Conflict, Location, Step

__all__ = ["conflicts", "overlap"]

Clock: TypeAlias = dict[int, int]
"""By actor: how many of its steps are known to have happened."""

# What an actor does to a subject: tell all it knows, or learn what was told.
_TELLS: Final = frozenset({"release", "notify", "spawn", "end", "cancel"})
_LEARNS: Final = frozenset({"acquire", "wake", "start", "join"})
_KEPT_A_PLACE: Final = 4
"""Accesses remembered for one actor, place and mode, the first and the latest ones."""


def overlap(one: Location, other: Location) -> bool:
    """Whether two locations share something: the same item, or an item and its container."""
    if one.owner != other.owner:
        return False
    return one.key is None or other.key is None or one.key == other.key


def conflicts(steps: Sequence[Step], actors: Sequence[ActorInfo] = ()) -> tuple[Conflict, ...]:
    """
    Pairs of accesses by different actors, one of them a write, that nothing orders.

    One for each pair of locations: the one nearest to where the scheduler left the default, of
    those as near one in which both write, of those the first. The list is in the same order.

    Locks and the like order what they are taken for even where it was luck that they did, so a
    race that this run hid may be missing; none is invented.

    Args:
        steps: Of one run, with accesses.
        actors: Who took them, for finding by name what was started and joined.
    """
    names = {actor.number: actor.name for actor in actors}
    found = _Best(tuple(step.index for step in steps if step.deviates))
    history: dict[int, _History] = {}
    for seen in _ordered(steps, names):
        for access in seen.step.accesses:
            about = history.setdefault(access.location.owner, _History())
            for earlier in about.unordered_with(seen, access):
                found.add(earlier, _Event(seen.step, access))
            about.add(seen, access)
    return found.ranked()


class _Event(NamedTuple):
    step: Step
    access: Access


class _Seen(NamedTuple):
    step: Step
    clock: Clock
    """What the actor knew; its own entry is the time of this step."""


def _ordered(steps: Sequence[Step], names: dict[int, str]) -> Iterator[_Seen]:
    """Each step that touches state, with the clock of its actor."""
    clocks: dict[int, Clock] = {}
    told: dict[object, Clock] = {}
    started_as: dict[int, int] = {}
    for step in steps:
        actor = step.actor
        clock = clocks.setdefault(actor, {actor: 0})
        if step.kind in _LEARNS:
            for subject in _subjects(step):
                _join(clock, told.get(subject, {}))
        if step.kind == "start" and step.subject_id:
            started_as[actor] = step.subject_id
        if step.accesses:
            clock[actor] += 1
            yield _Seen(step, dict(clock))
        if step.kind in _TELLS:
            for subject in {*_subjects(step), *_own_names(step, names, started_as)}:
                _join(told.setdefault(subject, {}), clock)
            clock[actor] += 1


def _subjects(step: Step) -> set[object]:
    """The same thread may be known by identity in one step and by name in another."""
    if step.kind in ("spawn", "start", "end", "join"):
        side = "begin" if step.kind in ("spawn", "start") else "end"
        return {(side, it) for it in (step.subject_id, step.subject) if it}
    return {step.subject_id or step.subject}


def _own_names(step: Step, names: dict[int, str], started_as: dict[int, int]) -> set[object]:
    if step.kind != "end":
        return set()
    own = (names.get(step.actor), started_as.get(step.actor))
    return {("end", it) for it in own if it}


def _join(clock: Clock, other: Clock) -> None:
    for actor, time in other.items():
        if clock.get(actor, -1) < time:
            clock[actor] = time


class _Past(NamedTuple):
    time: int
    event: _Event


@dataclass(slots=True)
class _History:
    """Accesses to what one object holds: by actor, mode, key and place, a few of each."""

    groups: dict[tuple[int, bool, str | None, object], list[_Past]] = field(default_factory=dict)

    def add(self, seen: _Seen, access: Access) -> None:
        step = seen.step
        key = (step.actor, access.mode != "read", access.location.key, step.place)
        group = self.groups.setdefault(key, [])
        if len(group) >= _KEPT_A_PLACE:
            del group[1]
        group.append(_Past(seen.clock[step.actor], _Event(step, access)))

    def unordered_with(self, seen: _Seen, access: Access) -> Iterator[_Event]:
        writes = access.mode != "read"
        for (actor, wrote, key, _place), group in self.groups.items():
            if actor == seen.step.actor or not (writes or wrote):
                continue
            if key is not None and access.location.key not in (None, key):
                continue
            known = seen.clock.get(actor, -1)
            yield from (past.event for past in group if past.time > known)


@dataclass(slots=True)
class _Best:
    """The most telling pair for each pair of locations."""

    deviations: tuple[int, ...]
    pairs: dict[object, tuple[tuple[int, ...], Conflict]] = field(default_factory=dict)

    def add(self, first: _Event, second: _Event) -> None:
        one, other = first.access.location, second.access.location
        location = other if one.key is None else one
        pair = (one.owner, frozenset((one.key, other.key)))
        reads = (first.access.mode == "read") + (second.access.mode == "read")
        a, b = first.step.index, second.step.index
        rank = (*_distance(a, b, self.deviations), reads, a, b)
        if pair not in self.pairs or rank < self.pairs[pair][0]:
            self.pairs[pair] = (rank, Conflict(location, a, b))

    def ranked(self) -> tuple[Conflict, ...]:
        return tuple(it for _, it in sorted(self.pairs.values(), key=lambda pair: pair[0]))


def _distance(first: int, second: int, deviations: Iterable[int]) -> tuple[int, int]:
    """
    How far a pair is from the nearest deviation.

    A pair with the deviation between its halves comes first: there the one was stopped, and the
    other took its chance.
    """
    ranks = [
        (0 if first < it <= second else 1, min(abs(first - it), abs(second - it)))
        for it in deviations
    ]
    return min(ranks, default=(1, 0))
