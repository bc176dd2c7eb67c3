"""Bounded search on every granularity, and what can be claimed of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from lmi_runtime.stress.model import Deviation, Granularity, Schedule
from lmi_runtime.stress.program import Execution, Program
from lmi_runtime.stress.search.facts import SearchSettings
from lmi_runtime.stress.search.frontier import Frontier
from lmi_runtime.stress.search.ledger import Find, Ledger
from lmi_runtime.stress.search.rank import Ranking, children_of
from lmi_runtime.stress.search.runner import Runner

__all__ = ["BoundedSearch"]

_RECORDED = 8
"""Runs without preemptions that are recorded, for the ranking."""


class BoundedSearch:
    """
    The schedules of one program, by granularity and by number of preemptions.

    Args:
        program: What to run.
        settings: Granularities and the bound that is wanted.
        runner: Makes the runs.
        ledger: Knows which failures are reported.

    Attributes:
        active: Granularities on which failures are still wanted.
        longest: Most decisions in one run, by granularity.
        undisturbed: The run without deviations, recorded, once there was one.

    Thread safety: one thread, the one that explores.
    """

    def __init__(
        self, program: Program, settings: SearchSettings, runner: Runner, ledger: Ledger
    ) -> None:
        self._program = program
        self._settings = settings
        self._runner = runner
        self._ledger = ledger
        self._rankings = {each: Ranking() for each in settings.granularities}
        self._frontiers = {each: Frontier(self._rankings[each]) for each in settings.granularities}
        self._recorded = dict.fromkeys(settings.granularities, 0)
        self._points: dict[Granularity, dict[Deviation, float]] = {
            each: {} for each in settings.granularities
        }
        self._threads = False
        self.undisturbed: Execution | None = None
        self.active = list(settings.granularities)
        self.longest = dict.fromkeys(settings.granularities, 0)

    # ------------------------------------------------------------------ what was tried

    def bound(self, granularity: Granularity) -> int:
        """All schedules with at most so many preemptions were tried; -1 for none."""
        first = self._settings.granularities[0]
        bound = self._own_bound(first if self._is_twin(granularity) else granularity)
        # Without preemptions all granularities are alike: what was tried on one holds on each.
        return max(bound, min(0, self._own_bound(first)))

    def _own_bound(self, granularity: Granularity) -> int:
        frontier = self._frontiers[granularity]
        return max(frontier.bound, self._settings.max_bound) if frontier.whole else frontier.bound

    def is_whole(self) -> bool:
        """No schedule is left on any granularity."""
        return all(self._frontiers[each].whole for each in self.turns())

    def is_empty(self) -> bool:
        """Nothing is left to run, though perhaps not everything proved something."""
        return all(self._frontiers[each].empty for each in self.turns())

    def waiting(self, level: int) -> int:
        """Schedules known and not run, with at most `level` preemptions."""
        return sum(
            self._frontiers[each].waiting(lower)
            for each in self.turns()
            for lower in range(level + 1)
        )

    def waiting_on(self, granularity: Granularity, level: int) -> int:
        """The same with exactly `level`, on one granularity."""
        return self._frontiers[granularity].waiting(level)

    def turns(self) -> Sequence[Granularity]:
        """The granularities worth searching."""
        return [each for each in self.active if not self._is_twin(each)]

    def points(self, granularity: Granularity) -> Sequence[Deviation]:
        """Deviations possible in serial runs, the most promising first."""
        scores = self._points[granularity]
        return sorted(scores, key=lambda each: (scores[each], each))

    def _is_twin(self, granularity: Granularity) -> bool:
        """
        No two threads were ever met, so where they may be preempted makes no difference.

        Should a later run meet two, this granularity is searched on its own from then on.
        """
        first = self._settings.granularities[0]
        return granularity is not first and not self._threads and self._recorded[first] > 0

    # ------------------------------------------------------------------ trying

    def sweep(
        self,
        level: int,
        most: int | None = None,
        reserve: float = 0.0,
        on: Sequence[Granularity] = tuple(Granularity),
        below: float = inf,
    ) -> Iterator[Find]:
        """
        Run what is left up to `level`, on each granularity in turn.

        Args:
            level: Preemptions.
            most: Runs on each level of each granularity.
            reserve: Stop when only this share of the budget is left.
            on: Leave out all other granularities.
            below: Leave out what has this score or a higher one.
        """
        for each in [each for each in self.active if each in on]:
            for lower in range(level + 1):
                yield from self.drain(lower, each, most, reserve, below)

    def drain(
        self,
        level: int,
        granularity: Granularity,
        most: int | None = None,
        reserve: float = 0.0,
        below: float = inf,
    ) -> Iterator[Find]:
        """Run what is left on one level of one granularity; arguments as for `sweep`."""
        frontier = self._frontiers[granularity]
        count = 0
        while most is None or count < most:
            if self._is_twin(granularity) or self._runner.fraction_left <= reserve:
                return
            best = frontier.best(level)
            if best is None or best >= below:
                return
            schedule = frontier.pop(level)
            count += 1
            find = self._step(level, granularity, schedule)
            if find is not None:
                yield find
            if granularity not in self.active:
                return

    def _step(self, level: int, granularity: Granularity, schedule: Schedule) -> Find | None:
        """One run, and its children."""
        frontier = self._frontiers[granularity]
        record = level == 0 and self._recorded[granularity] < _RECORDED
        name = "bounded" if level else "serial"
        try:
            execution = self._runner.follow(
                self._program, schedule, granularity, name, record=record
            )
        except BaseException:
            frontier.put_back(level, schedule)
            raise
        if execution.uncontrolled:
            frontier.spoil(level)
        elif execution.taken != schedule:
            frontier.spoil(level)
            self._runner.escaped("The same choices did not lead to the same run twice.")
            return None
        else:
            if record:
                self._learn(granularity, execution)
            frontier.grow(level, schedule, execution)
        return self.judged(execution, granularity, name)

    def _learn(self, granularity: Granularity, execution: Execution) -> None:
        ranking = self._rankings[granularity]
        ranking.learn(execution)
        self._recorded[granularity] += 1
        if self.undisturbed is None and not execution.taken:
            self.undisturbed = execution
        if not execution.complaints:
            self._runner.expect(granularity, execution.points)
        points = self._points[granularity]
        for child in children_of(execution.decisions, 0.0, ranking):
            points[child.deviation] = child.score.total

    def judged(self, execution: Execution, granularity: Granularity, name: str) -> Find | None:
        """Look at a run, whoever chose it: a find, if it failed in a way not reported yet."""
        self.longest[granularity] = max(self.longest[granularity], len(execution.decisions))
        self._threads |= execution.threads > 1
        if execution.uncontrolled:
            for each in execution.complaints:
                self._ledger.note(f"A run that was not under control failed: {each.sentence}")
            return None
        fresh = self._ledger.fresh(execution, granularity)
        if not fresh:
            return None
        return Find(execution.taken, granularity, fresh, name, self._runner.schedules)
