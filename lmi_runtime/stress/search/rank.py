"""Which deviations to try first: those next to state that others touch."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lmi_runtime.stress.model import Access, Deviation, Location, Place, Step
from lmi_runtime.stress.program import Decision, Execution

__all__ = ["COLD", "PROMISING", "Child", "Ranking", "Score", "children_of"]

# Scores of a place to leave the default, lower first. Only their order matters, and that two
# places of the best kind go before one of the best and one of the worst.
_BETWEEN = 0.0  # before a write, after an access to the same state: the lost update
_LOCK = 0.25  # before a lock, when one was taken before: the gap between, or the knot
_AFTER = 1.0  # before an access, after one to other shared state
_GAP = 1.25  # where a lock was given back
_HOT = 1.5  # the engine says so, the steps do not say why
_HELD = 1.0  # more, where a lock is held that others want: they could not do anything
_FIRST = 3.0  # before the first shared access: much like another serial order
_OWN = 5.0  # state that is written; in another run somebody else may touch it, too
COLD = 8.0
"""Scores from here on are of places about which nothing is known."""

PROMISING = 2.0
"""Scores below are of places at which a preemption may well show a bug."""

_STRANGER = 1.5  # what goes on instead never touches what is touched here
_TIME = 1.0  # time passes although something could go on
_FREE = 0.5  # each choice among those who could go on anyway
_REPEAT = 0.5  # each earlier visit of the same place
_MOST_REPEATS = 8


class Score(NamedTuple):
    """Sorts children of all parents of one level; the lowest is tried first."""

    total: float
    order: int


class Child(NamedTuple):
    """A deviation that one run may be continued with."""

    score: Score
    deviation: Deviation


class Ranking:
    """
    Learns from recorded runs where state is shared, and scores decisions by it.

    It only ever orders: every child is scored, none is left out.

    Thread safety: one thread, the one that explores.
    """

    def __init__(self) -> None:
        self._hot: set[int] = set()
        self._sites: dict[int, float] = {}
        self._partners: dict[int, set[int]] = defaultdict(set)
        self._sharers: set[int] = set()

    def learn(self, execution: Execution) -> None:
        """Take in a recorded run."""
        self._hot |= execution.hot
        nearest = _Nearest(execution.places)
        self._learn_accesses(execution.steps, nearest)
        self._learn_locks(execution.steps, nearest)

    def _learn_accesses(self, steps: Sequence[Step], nearest: _Nearest) -> None:
        touched: dict[int, set[Location]] = defaultdict(set)
        held: dict[int, int] = defaultdict(int)
        shared = _shared(_touches(steps))
        written = {each.location for _, each in _touches(steps) if each.mode != "read"}
        for step in steps:
            held[step.actor] += (step.kind == "acquire") - (step.kind == "release")
            for access in step.accesses:
                users = shared.get(access.location)
                if users is None:
                    site = nearest.site(step.place)
                    if access.location in written and site not in self._hot:
                        self._note(site, _OWN, ())
                    continue
                before = touched[step.actor]
                if access.location in before and access.mode != "read":
                    score = _BETWEEN
                else:
                    score = _AFTER if before else _FIRST
                before.add(access.location)
                self._sharers |= users
                score += _HELD if held[step.actor] > 0 else 0.0
                self._note(nearest.site(step.place), score, users)

    def _learn_locks(self, steps: Sequence[Step], nearest: _Nearest) -> None:
        users: dict[int, set[int]] = defaultdict(set)
        for step in steps:
            if step.kind == "acquire":
                users[step.subject_id].add(step.actor)
        taken: set[int] = set()
        for step in steps:
            if step.kind == "acquire" and len(users[step.subject_id]) > 1:
                score = _LOCK if step.actor in taken else _FIRST
                taken.add(step.actor)
                site = nearest.site(step.place, label="acquire")
                self._note(site, score, users[step.subject_id])
            elif step.kind == "release" and len(users[step.subject_id]) > 1:
                self._note(nearest.site(step.place), _GAP, users[step.subject_id])

    def _note(self, site: int | None, score: float, users: Iterable[int]) -> None:
        if site is None:
            return
        self._sites[site] = min(score, self._sites.get(site, score))
        self._partners[site].update(users)

    def score(self, decision: Decision, to: int, repeats: int) -> float:
        """How promising it is to go on with `to` at `decision`."""
        if decision.kind == "forced":
            return _FREE
        if decision.kind == "preempt":
            score = self._score_site(decision.site)
            partners = self._partners.get(decision.site)
            if partners and to not in partners:
                score += _STRANGER
        elif decision.kind == "task":
            score = _BETWEEN if to in self._sharers or not self._sharers else _AFTER
            if decision.options[0] not in self._sharers:
                score += _LOCK
            if to < 0:
                score += _TIME
        else:
            score = _AFTER
        return score + _REPEAT * min(repeats, _MOST_REPEATS)

    def _score_site(self, site: int) -> float:
        known = self._sites.get(site)
        if known is not None:
            return known
        return _HOT if site in self._hot else COLD


def children_of(decisions: Sequence[Decision], parent: float, ranking: Ranking) -> Iterable[Child]:
    """
    Every way to leave the default once at `decisions`.

    Args:
        decisions: Those that come after the last deviation of the parent.
        parent: Total score of the parent.
        ranking: Scores them.
    """
    repeats: dict[tuple[str, int, int], int] = defaultdict(int)
    orders: dict[tuple[int, float], int] = defaultdict(int)
    for decision in decisions:
        if len(decision.options) < 2:
            continue
        visit = (decision.kind, decision.actor, decision.site)
        repeat = repeats[visit]
        repeats[visit] = repeat + 1
        for to in decision.options:
            if to == decision.chosen:
                continue
            score = ranking.score(decision, to, repeat)
            order = orders[decision.actor, score]
            orders[decision.actor, score] = order + 1
            # Cold places say nothing about each other, so they are taken far apart.
            spread = _mirrored(order) if score >= COLD else order
            deviation = Deviation(decision.kind, decision.actor, decision.visit, to)
            yield Child(Score(parent + score, spread), deviation)


def _mirrored(number: int) -> int:
    """The bits of a 16-bit number in reverse: 0, 32768, 16384, 49152, ..."""
    return int(f"{number & 0xFFFF:016b}"[::-1], 2)


def _touches(steps: Iterable[Step]) -> Iterable[tuple[Step, Access]]:
    for step in steps:
        for access in step.accesses:
            yield step, access


def _shared(touches: Iterable[tuple[Step, Access]]) -> dict[Location, set[int]]:
    """Who touches each location that several touch and one of them writes."""
    users: dict[Location, set[int]] = defaultdict(set)
    written: set[Location] = set()
    for step, access in touches:
        users[access.location].add(step.actor)
        if access.mode != "read":
            written.add(access.location)
    return {each: who for each, who in users.items() if len(who) > 1 and each in written}


class _Nearest:
    """
    Finds the decision at which what a step does can be put off.

    A step may stand for several operations on one line, and decisions need not be at the
    operations themselves: the last decision on the line or, failing that, the last one before
    it in the function.
    """

    def __init__(self, places: Mapping[int, Place]) -> None:
        self._by_function: dict[tuple[str, str], list[tuple[int, int, int]]] = defaultdict(list)
        self._labelled: dict[tuple[str, str, int, str], int] = {}
        for site, place in places.items():
            spot = place.line, place.offset, site
            self._by_function[place.file, place.function].append(spot)
            self._labelled[place.file, place.function, place.line, place.label] = site
        for spots in self._by_function.values():
            spots.sort()

    def site(self, place: Place | None, label: str = "") -> int | None:
        if place is None:
            return None
        exact = self._labelled.get((place.file, place.function, place.line, label))
        if exact is not None:
            return exact
        spots = self._by_function.get((place.file, place.function), [])
        after = bisect.bisect_left(spots, (place.line + 1,))
        return spots[after - 1][2] if after else None
