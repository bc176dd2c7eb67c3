"""Iterative context bounding: which schedules are still to be run, by number of preemptions."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from lmi_runtime.stress.model import Deviation, Schedule
from lmi_runtime.stress.program import Decision, Execution
from lmi_runtime.stress.search.rank import Child, Ranking, Score, children_of

__all__ = ["Frontier", "decisions_after"]

_MOST_PENDING = 100_000
_MOST_DECISIONS = 1_000_000


class _Pending(NamedTuple):
    score: Score
    number: int
    schedule: Schedule


class _Parent(NamedTuple):
    """A run whose costlier children have not been made yet."""

    total: float
    schedule: Schedule
    decisions: Sequence[Decision]


class Frontier:
    """
    Every schedule exactly once, those with fewer preemptions first.

    A run that followed schedule S is continued by S and one more deviation, at a decision
    later than the last of S, for every other option there. Every schedule has one order in
    which its deviations take place, hence one parent: nothing is made twice and nothing is
    left out. A forced deviation costs nothing and stays on the level of its parent; any other
    belongs to the next.

    Children of the next level are made when that level begins: the ranking knows more by then,
    and levels that are never reached cost nothing. What does not fit into memory is dropped and
    its level marked, so that it is never called exhausted.

    Thread safety: one thread, the one that explores.
    """

    def __init__(self, ranking: Ranking) -> None:
        self._ranking = ranking
        self._levels: dict[int, list[_Pending]] = defaultdict(list)
        self._parents: dict[int, list[_Parent]] = defaultdict(list)
        self._totals: dict[Schedule, float] = {}
        self._spoilt: set[int] = set()
        self._number = 0
        self._pending = 0
        self._kept = 0
        self._push(0, Score(0.0, 0), ())

    def pop(self, level: int) -> Schedule:
        """The most promising schedule left on `level`; ask `best` before whether there is one."""
        self._pending -= 1
        best = heapq.heappop(self._levels[level])
        self._totals[best.schedule] = best.score.total
        return best.schedule

    def best(self, level: int) -> float | None:
        """The score of what `pop` would give."""
        self._make_children(level)
        heap = self._levels[level]
        return heap[0].score.total if heap else None

    def grow(self, level: int, schedule: Schedule, execution: Execution) -> None:
        """Take in the run that followed `schedule`, popped from `level`."""
        total = self._totals.pop(schedule, 0.0)
        later = decisions_after(execution.decisions, schedule)
        free = [each for each in later if each.kind == "forced"]
        for child in children_of(free, total, self._ranking):
            self._add(level, schedule, child)
        costly = [each for each in later if each.kind != "forced" and len(each.options) > 1]
        if costly:
            self._keep(level + 1, _Parent(total, schedule, costly))

    def spoil(self, level: int) -> None:
        """A run of `level` proves nothing: that level cannot be exhausted any more."""
        self._spoilt.add(level)

    def put_back(self, level: int, schedule: Schedule) -> None:
        """`schedule` was popped, but not run."""
        self._push(level, Score(self._totals.pop(schedule, 0.0), 0), schedule)

    def waiting(self, level: int) -> int:
        """Schedules of `level` known and not yet run."""
        return len(self._levels[level]) + sum(
            len(each.options) - 1 for parent in self._parents[level] for each in parent.decisions
        )

    def exhausted(self, level: int) -> bool:
        """Every schedule with at most `level` preemptions was run and proves something."""
        return not any(each in self._spoilt or self.waiting(each) for each in range(level + 1))

    @property
    def bound(self) -> int:
        """The highest level that is exhausted, at most one beyond the last with schedules."""
        level = -1
        while level < self._deepest and self.exhausted(level + 1):
            level += 1
        return level

    @property
    def whole(self) -> bool:
        """Every schedule there is was run."""
        return self.exhausted(self._deepest)

    @property
    def empty(self) -> bool:
        """Nothing is left to run, whether or not everything was."""
        return not any(self._levels.values()) and not any(self._parents.values())

    @property
    def _deepest(self) -> int:
        return max([0, *self._levels, *self._parents])

    def _make_children(self, level: int) -> None:
        for parent in self._parents.pop(level, ()):
            self._kept -= len(parent.decisions)
            for child in children_of(parent.decisions, parent.total, self._ranking):
                self._add(level, parent.schedule, child)

    def _keep(self, level: int, parent: _Parent) -> None:
        if self._kept + len(parent.decisions) > _MOST_DECISIONS:
            self._spoilt.add(level)
            return
        self._kept += len(parent.decisions)
        self._parents[level].append(parent)

    def _add(self, level: int, parent: Schedule, child: Child) -> None:
        self._push(level, child.score, (*parent, child.deviation))

    def _push(self, level: int, score: Score, schedule: Schedule) -> None:
        if self._pending >= _MOST_PENDING:
            self._spoilt.add(level)
            return
        self._pending += 1
        self._number += 1
        heapq.heappush(self._levels[level], _Pending(score, self._number, schedule))


def decisions_after(decisions: Sequence[Decision], schedule: Schedule) -> Sequence[Decision]:
    """The decisions that come later than the last deviation of `schedule`."""
    if not schedule:
        return decisions
    last = schedule[-1]
    position = _position_of(decisions, last)
    return decisions[position + 1 :]


def _position_of(decisions: Sequence[Decision], deviation: Deviation) -> int:
    kind, actor, visit = deviation.kind, deviation.actor, deviation.visit
    for position, decision in enumerate(decisions):
        if decision.visit == visit and decision.actor == actor and decision.kind == kind:
            return position
    raise LookupError(f"{deviation} was not taken")
