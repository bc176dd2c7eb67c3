"""Several searches under one budget, in the order in which they pay."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from lmi_runtime.stress.model import Coverage, Granularity, Schedule
from lmi_runtime.stress.program import Chooser, Execution, Program
from lmi_runtime.stress.search.bounded import BoundedSearch
from lmi_runtime.stress.search.bursts import Burst, Order, bursts
from lmi_runtime.stress.search.chooser import Pct, RandomWalk, Scripted
from lmi_runtime.stress.search.facts import Execute, SearchResult, SearchSettings
from lmi_runtime.stress.search.generated import draw_schedules
from lmi_runtime.stress.search.ledger import Find, Ledger
from lmi_runtime.stress.search.rank import COLD, PROMISING
from lmi_runtime.stress.search.replay import reproduce
from lmi_runtime.stress.search.runner import OutOfControl, Runner, Spent
from lmi_runtime.stress.search.settle import Settler, preemptions_in_words
from lmi_runtime.stress.search.store import ExampleStore
from lmi_runtime.stress.search.tokens import Replay

__all__ = ["Portfolio", "search"]

_CHEAP = 400
"""A level with no more schedules is exhausted before anything is left to chance."""

_FIRST_PASS = {0: 0.05, 1: 0.25}
"""Share of the budget for a level until the random searches had their turn."""

_FIRST_PASS_LEAST = 48

_FIRST_BURSTS = 6
"""Before single deviations have their turn, and then as many as this:"""

_MOST_BURSTS = 40

_MOST_PARTICIPANTS = 1000

_WALKS = (0.02, 0.05, 0.1, 0.3)
"""Probabilities with which random walks leave the default."""


def search(program: Program, execute: Execute, settings: SearchSettings) -> SearchResult:
    """
    Look for a schedule under which `program` fails, and make it small.

    Every schedule with few preemptions is tried before any with more, on each granularity in
    turn, so the first failure seen is already the smallest there is on any build. Chance takes
    over where there are too many: lists of deviations from Hypothesis, priorities (PCT), random
    walks. What those find is made smaller and then measured against all schedules below it.

    Args:
        program: What to run.
        execute: Makes one run.
        settings: Budget, bounds, seed.

    Returns:
        What was found and how much was tried. A bound is only claimed when every schedule
        within it was run, under control, and behaved as the run it continues.

    Thread safety: one search at a time in a process, as `execute` replaces the process's locks
    and clocks.
    """
    portfolio = Portfolio(program, settings, Runner(execute, settings))
    portfolio.explore(portfolio.everything())
    return portfolio.answer()


class Portfolio:
    """
    The searches of one program.

    Args:
        program: What to run.
        settings: Budget, bounds, seed.
        runner: Makes the runs.
        ledger: Findings so far; a new one by default.
        events: Of the invocations, for tokens and findings.

    Thread safety: one thread, the one that explores.
    """

    def __init__(
        self,
        program: Program,
        settings: SearchSettings,
        runner: Runner,
        ledger: Ledger | None = None,
        events: Sequence[Any] = (),
    ) -> None:
        self._program = program
        self._settings = settings
        self._runner = runner
        self._ledger = ledger if ledger is not None else Ledger()
        self._events = tuple(events)
        self._store = ExampleStore(settings.examples) if settings.examples else None
        self._bounded = BoundedSearch(program, settings, runner, self._ledger)
        self._settler = Settler(
            program, settings, runner, self._bounded, self._ledger, self._events, self._keep
        )
        self._stopped_by = ""

    # ------------------------------------------------------------------ from outside

    def explore(self, finds: Iterator[Find]) -> None:
        """Settle what `finds` yields, until that is enough, or the budget is spent."""
        try:
            for find in finds:
                self._settle(find)
                if self._ledger.suffices(self._settings.stop_at):
                    self._stopped_by = "failure"
                    return
            self._stopped_by = "exhausted"
        except Spent:
            self._stopped_by = "exhausted" if self._has_wanted_bound() else "budget"
        except OutOfControl:
            self._stopped_by = "uncontrolled"

    @property
    def stopped(self) -> bool:
        """There is nothing to be gained by going on with other programs."""
        return self._stopped_by not in ("", "exhausted") or self._runner.left <= 0

    def answer(self) -> SearchResult:
        """What there is to say now."""
        self._note_what_is_missing()
        return SearchResult(
            found=tuple(sorted(self._ledger.found, key=lambda each: each.finding.warning)),
            coverage=self._coverage(),
            notes=tuple(self._ledger.notes),
            seconds=self._runner.seconds,
        )

    def everything(self) -> Iterator[Find]:
        """The whole portfolio."""
        yield from self.replays()
        yield from self.first_passes()
        yield from self._cheap_levels()
        if not self._bounded.is_whole():
            yield from self._drawn(self._settings.max_schedules // 20)
            yield from self._by_priority(self._settings.max_schedules // 10)
            yield from self._wanted_levels()
            yield from self._deeper_levels()
        if not self._bounded.is_whole():
            yield from self._walks()

    # ------------------------------------------------------------------ the parts, in order

    def replays(self) -> Iterator[Find]:
        """What failed before."""
        stored = self._store.load(self._program.name) if self._store is not None else ()
        for replay in (*self._settings.first, *stored):
            wanted = replay.granularity in self._settings.granularities
            if not wanted or replay.events != self._events:
                continue
            find = self._replayed(replay)
            if find is not None:
                yield find
            elif self._store is not None:
                self._store.forget(replay)

    def first_passes(self, share: float = 1.0) -> Iterator[Find]:
        """Serial orders, then one preemption, each for its share of the budget times `share`."""
        self._serial_orders()
        every = self._settings.granularities
        # Without preemptions all granularities are alike, so the others need not be asked yet.
        yield from self._first_pass(0, share, on=every[:1])
        undisturbed = self._bounded.undisturbed
        orders = bursts(undisturbed) if undisturbed is not None else ()
        yield from self._bursts(orders[:_FIRST_BURSTS])
        yield from self._first_pass(1, share, every, PROMISING)
        yield from self._bursts(orders[_FIRST_BURSTS:_MOST_BURSTS])
        for below in (COLD, inf):
            yield from self._first_pass(1, share, every, below)

    def _first_pass(
        self, level: int, share: float, on: Sequence[Granularity], below: float = inf
    ) -> Iterator[Find]:
        most = int(_FIRST_PASS[level] * share * self._settings.max_schedules)
        yield from self._bounded.sweep(level, max(_FIRST_PASS_LEAST, most), on=on, below=below)

    def _bursts(self, orders: Sequence[Order]) -> Iterator[Find]:
        """One task of an event loop before all others: what takes turns needs many deviations."""
        for order in orders:
            granularity = self._bounded.turns()[0]
            find = self._by_chance(Burst(order), granularity, "burst")
            if find is not None:
                yield find

    def _replayed(self, replay: Replay) -> Find | None:
        def run(chooser: Chooser, record: bool) -> Execution:
            return self._runner.run(
                self._program, chooser, replay.granularity, "replay", record=record
            )

        return self._bounded.judged(reproduce(replay, run), replay.granularity, "replay")

    def _serial_orders(self) -> None:
        """Only for the program's judge to see; what fails there also fails on level 0."""
        most = self._settings.serial_orders
        if most <= 0:
            return
        first = self._settings.granularities[0]
        natural = tuple(range(_MOST_PARTICIPANTS))  # how many there are is not known yet
        run = self._runner.run(self._program, Scripted(), first, "serial", serial=natural)
        orders = itertools.permutations(range(len(run.ended)))
        for order in itertools.islice(orders, 1, most):
            self._runner.run(self._program, Scripted(), first, "serial", serial=order)

    def _cheap_levels(self) -> Iterator[Find]:
        for level in itertools.count(1):
            wanted = level <= self._settings.max_bound
            cheap = min(_CHEAP, self._runner.left // (1 if wanted else 5))
            if self._bounded.is_empty() or self._bounded.waiting(level) > cheap:
                return
            yield from self._bounded.sweep(level, reserve=0.0 if wanted else 0.5)
            if self._bounded.waiting(level):
                return

    def _wanted_levels(self) -> Iterator[Find]:
        for level in range(self._settings.max_bound + 1):
            fits = self._bounded.waiting(level) < self._runner.left
            yield from self._bounded.sweep(level, reserve=0.0 if fits else 0.2)

    def _deeper_levels(self) -> Iterator[Find]:
        reserve = self._runner.fraction_left / 2
        for level in itertools.count(self._settings.max_bound + 1):
            if self._bounded.is_empty() or self._runner.fraction_left <= reserve:
                return
            yield from self._bounded.sweep(level, reserve=reserve)

    def _drawn(self, tries: int) -> Iterator[Find]:
        """Hypothesis's lists of deviations."""
        turns = self._bounded.turns()
        for granularity in turns:
            finds: list[Find] = []

            def attempt(
                schedule: Schedule,
                granularity: Granularity = granularity,
                finds: list[Find] = finds,
            ) -> bool:
                find = self._by_chance(Scripted(schedule), granularity, "hypothesis")
                finds += [find] if find is not None else []
                return find is not None

            points = self._bounded.points(granularity)
            draw_schedules(points, tries // len(turns), self._settings.seed, attempt)
            yield from finds

    def _by_priority(self, tries: int) -> Iterator[Find]:
        """PCT, with two to four priorities."""
        for number in range(tries):
            turns = self._bounded.turns()
            granularity = turns[number % len(turns)]
            depth = 2 + number // len(turns) % 3
            seed = f"{self._settings.seed}/{number}"
            chooser = Pct(seed, depth, self._bounded.longest[granularity])
            find = self._by_chance(chooser, granularity, "pct")
            if find is not None:
                yield find

    def _walks(self) -> Iterator[Find]:
        """Random walks and PCT in turn, until the budget is spent."""
        for number in itertools.count():
            turns = self._bounded.turns()
            granularity = turns[number % len(turns)]
            which = number // len(turns)
            seed = f"{self._settings.seed}/more/{number}"
            chooser: Chooser
            if which % 2:
                name, length = "pct", self._bounded.longest[granularity]
                chooser = Pct(seed, 2 + which // 2 % 4, length)
            else:
                name = "random"
                chooser = RandomWalk(seed, _WALKS[which // 2 % len(_WALKS)])
            find = self._by_chance(chooser, granularity, name)
            if find is not None:
                yield find

    def _by_chance(self, chooser: Chooser, granularity: Granularity, name: str) -> Find | None:
        execution = self._runner.run(self._program, chooser, granularity, name)
        return self._bounded.judged(execution, granularity, name)

    # ------------------------------------------------------------------ findings

    def _settle(self, find: Find) -> None:
        todo = [find]
        while todo and not self._ledger.suffices(self._settings.stop_at):
            find = todo.pop(0)
            keys = find.keys if self._settings.stop_at == "never" else find.keys[:1]
            for key in keys:
                if not self._ledger.is_known(key, find.granularity):
                    self._settler.settle(replace(find, keys=(key,)))
            todo += self._settler.aside
            self._settler.aside.clear()
        if self._settings.stop_at == "failure" and self._ledger.found:
            # A warning: from here on only a failure that all builds have is of interest.
            self._bounded.active = [
                each for each in self._bounded.active if each is Granularity.GIL
            ]

    def _keep(self, replay: Replay) -> None:
        if self._store is not None:
            self._store.save(replay)

    # ------------------------------------------------------------------ what was tried

    def _has_wanted_bound(self) -> bool:
        wanted = self._settings.max_bound
        return all(self._bounded.bound(each) >= wanted for each in self._bounded.active)

    def _coverage(self) -> Coverage:
        runner = self._runner
        bounds = {each: self._bounded.bound(each) for each in self._settings.granularities}
        return Coverage(
            schedules=runner.schedules,
            bound=min(bounds.values(), default=-1),
            bounds=bounds,
            points=runner.points,
            wanted_bound=self._settings.max_bound,
            searches=dict(runner.searches),
            stopped_by=self._stopped_by,
            uncontrolled=tuple(runner.uncontrolled),
        )

    def _note_what_is_missing(self) -> None:
        if self._stopped_by == "failure":
            return
        for each in self._bounded.active:
            bound = self._bounded.bound(each)
            if bound >= self._settings.max_bound:
                continue
            left = self._bounded.waiting_on(each, bound + 1)
            known = f"; at least {left} are left" if left else ""
            self._ledger.note(
                f"{each.value}: not all schedules with {preemptions_in_words(bound + 1)} "
                f"were tried{known}."
            )
