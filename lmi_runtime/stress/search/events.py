"""Search events and schedules together, and make both small together."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lmi_runtime.stress.model import Granularity, Schedule
from lmi_runtime.stress.program import Execution, Program
from lmi_runtime.stress.search.facts import Execute, SearchResult, SearchSettings
from lmi_runtime.stress.search.frontier import decisions_after
from lmi_runtime.stress.search.generated import Enough, quiet, quiet_settings
from lmi_runtime.stress.search.ledger import Find, FindKey, Ledger
from lmi_runtime.stress.search.minimise import cost
from lmi_runtime.stress.search.portfolio import Portfolio
from lmi_runtime.stress.search.rank import Child, Ranking, children_of
from lmi_runtime.stress.search.runner import OutOfControl, Runner, Spent
from lmi_runtime.stress.search.store import ExampleStore

if TYPE_CHECKING:
    from hypothesis.strategies import DataObject, SearchStrategy

__all__ = ["search_events"]

Events = tuple[Any, ...]

_SIMPLE_SHARE = 0.25
"""Share of the first passes that the simplest events get, for each number of invocations."""

_DRAWN_SHARE = 0.5
"""What must be left of the budget for drawing to go on: the rest proves bounds."""

_SURE = 4
"""The most promising preemptions, tried for all events that are drawn."""

_MOST_DEVIATIONS = 3
_MOST_CHILDREN = 64
_CASES = 100_000  # the budget ends the search, not Hypothesis


def search_events(
    make_program: Callable[[Events], Program],
    strategy: SearchStrategy[Any],
    execute: Execute,
    settings: SearchSettings,
    *,
    concurrency: int = 2,
) -> SearchResult:
    """
    Look for events and a schedule under which they fail together, and make both small.

    First what failed before; then one, two, ... invocations with the simplest event there is,
    with at most one preemption, which finds most bugs in a few runs; then Hypothesis draws
    events and, between runs, deviations from those that the run before has shown to be
    possible, the most promising first. It shrinks both together: fewest invocations, simplest
    events, fewest preemptions. What is left is measured against all schedules with fewer
    preemptions. If nothing fails, the rest of the budget is spent on the simplest events.

    Args:
        make_program: A program with one invocation an event.
        strategy: Draws one event.
        execute: Makes one run.
        settings: Budget, bounds, seed; the budget is for all events together.
        concurrency: Most invocations at once.

    Thread safety: as `search`. Everything is drawn by the thread that explores.
    """
    return _EventSearch(make_program, strategy, execute, settings, concurrency).result()


@dataclass(frozen=True, slots=True)
class _Case:
    """Events and a schedule that fail."""

    events: Events
    find: Find

    @property
    def size(self) -> tuple[int, int, int, str]:
        """Smaller is simpler."""
        text = json.dumps(self.events, sort_keys=True, default=repr)
        return len(self.events), cost(self.find.schedule), len(text), text


class _EventSearch:
    def __init__(
        self,
        make_program: Callable[[Events], Program],
        strategy: SearchStrategy[Any],
        execute: Execute,
        settings: SearchSettings,
        concurrency: int,
    ) -> None:
        self._make_program = make_program
        self._strategy = strategy
        self._settings = settings
        self._concurrency = concurrency
        self._runner = Runner(execute, settings)
        self._ledger = Ledger()

    def result(self) -> SearchResult:
        """All stages, until one finds enough."""
        simplest = _simplest(self._strategy)
        portfolio = self._replay_known(simplest)
        if portfolio is not None:
            return portfolio.answer()
        for number in range(1, self._concurrency + 1):
            portfolio = self._portfolio((simplest,) * number)
            portfolio.explore(portfolio.first_passes(_SIMPLE_SHARE))
            if self._is_over(portfolio):
                return portfolio.answer()
        drawn = self._settle_drawn()
        if drawn is not None and self._is_over(drawn):
            return drawn.answer()
        portfolio = self._portfolio((simplest,) * self._concurrency)
        portfolio.explore(portfolio.everything())
        self._ledger.note(
            f"Bounds are for {self._concurrency} invocations with the simplest event: "
            f"{json.dumps(simplest, default=repr):.200}"
        )
        return portfolio.answer()

    def _portfolio(self, events: Events) -> Portfolio:
        settings = replace(self._settings, first=())
        return Portfolio(self._make_program(events), settings, self._runner, self._ledger, events)

    def _is_over(self, portfolio: Portfolio) -> bool:
        return portfolio.stopped or self._ledger.suffices(self._settings.stop_at)

    # ------------------------------------------------------------------ what failed before

    def _replay_known(self, simplest: Any) -> Portfolio | None:
        """The portfolio of the first events that still fail."""
        known = list(self._settings.first)
        if self._settings.examples is not None:
            name = self._make_program((simplest,)).name
            known += ExampleStore(self._settings.examples).load(name)
        for replay in known:
            settings = replace(self._settings, first=(replay,))
            program = self._make_program(replay.events)
            portfolio = Portfolio(program, settings, self._runner, self._ledger, replay.events)
            portfolio.explore(portfolio.replays())
            if self._is_over(portfolio):
                return portfolio
        return None

    # ------------------------------------------------------------------ Hypothesis

    def _settle_drawn(self) -> Portfolio | None:
        case = _Drawing(self).smallest()
        if case is None:
            return None
        portfolio = self._portfolio(case.events)
        portfolio.explore(iter((case.find,)))
        return portfolio


class _Drawing:
    """One use of Hypothesis: many cases, of which the smallest failing one is kept."""

    def __init__(self, search: _EventSearch) -> None:
        self._search = search
        self._runner = search._runner
        self._settings = search._settings
        self._best: _Case | None = None
        self._key: FindKey | None = None
        self._raised: Exception | None = None
        self._left = False

    def smallest(self) -> _Case | None:
        """
        The smallest case that fails; None if none was drawn.

        Raises:
            Exception: whatever the program or its strategy raised outside a run.
        """
        import hypothesis
        from hypothesis import strategies
        from hypothesis.errors import Flaky

        cases = hypothesis.given(strategies.data())(self._case)
        cases = quiet_settings(_CASES, shrink=True)(cases)
        try:
            with quiet():
                hypothesis.seed(self._settings.seed)(cases)()
        except (Enough, _Fails):
            pass
        except Flaky:
            # A case that was left half-way looks like one that cannot make up its mind.
            if not self._left:
                self._runner.escaped("The same events and choices did not end alike twice.")
        if self._raised is not None:
            raise self._raised
        return self._best

    def _case(self, data: DataObject) -> None:
        from hypothesis import strategies

        granularities = self._granularities()
        granularity = data.draw(strategies.sampled_from(granularities))
        drawn = strategies.lists(
            self._search._strategy, min_size=1, max_size=self._search._concurrency
        )
        events = tuple(data.draw(drawn))
        run = self._guard(_CaseRun, self, events, granularity)
        self._guard(run.sure)
        for _ in range(_MOST_DEVIATIONS):
            children = run.children()
            if not children or not data.draw(strategies.booleans()):
                return
            child = data.draw(strategies.sampled_from(children))
            self._guard(run.go_on, child)

    def _granularities(self) -> Sequence[Granularity]:
        """Where a warning is known, only what all builds have is of interest."""
        every = self._settings.granularities
        if self._search._ledger.found and self._settings.stop_at == "failure":
            return [each for each in every if each is Granularity.GIL]
        return every

    def _guard(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Between draws: an error that is no find must not be taken for one and shrunk."""
        try:
            return action(*arguments)
        except _Fails:
            raise
        except (Spent, OutOfControl) as error:
            self._left = True
            raise Enough from error
        except Exception as error:
            self._left = True
            self._raised = error
            raise Enough from error

    def run(
        self, program: Program, events: Events, schedule: Schedule, granularity: Granularity
    ) -> Execution:
        """
        One recorded run within the share of this search.

        Raises:
            Spent: the share is.
            _Fails: the run failed like the first that did.
        """
        limit = _DRAWN_SHARE if self._best is None else 0.0
        if self._runner.fraction_left <= limit:
            raise Spent
        execution = self._runner.follow(program, schedule, granularity, "hypothesis", record=True)
        if not execution.uncontrolled:
            self._judge(events, granularity, execution)
        return execution

    def _judge(self, events: Events, granularity: Granularity, execution: Execution) -> None:
        fresh = self._search._ledger.fresh(execution, granularity)
        key = self._key or next(iter(fresh), None)
        if key is None or key not in fresh:
            return
        find = Find(execution.taken, granularity, (key,), "hypothesis", self._runner.schedules)
        if self._best is not None:
            find = replace(find, after=self._best.find.after)
        case = _Case(events, find)
        if self._best is None or case.size < self._best.size:
            self._best = case
        self._key = key
        raise _Fails


class _Fails(Exception):
    """For Hypothesis: this case fails like the first that did. Shrink it."""


class _CaseRun:
    """The runs of one case: in turn, then continued by one deviation after another."""

    def __init__(self, drawing: _Drawing, events: Events, granularity: Granularity) -> None:
        self._drawing = drawing
        self._events = events
        self._granularity = granularity
        self._ranking = Ranking()
        self._program = drawing._search._make_program(events)
        self._schedule: Schedule = ()
        self._run = self._follow(())

    def _follow(self, schedule: Schedule) -> Execution:
        run = self._drawing.run(self._program, self._events, schedule, self._granularity)
        self._ranking.learn(run)
        return run

    def sure(self) -> None:
        """Try what is most promising whatever Hypothesis would draw."""
        for child in self.children()[:_SURE]:
            self._follow((child.deviation,))

    def children(self) -> Sequence[Child]:
        """Deviations that the latest run may be continued with, the most promising first."""
        later = decisions_after(self._run.decisions, self._run.taken)
        children = sorted(children_of(later, 0.0, self._ranking))
        return children[:_MOST_CHILDREN]

    def go_on(self, child: Child) -> None:
        """Run once more, with one deviation more."""
        self._schedule = (*self._run.taken, child.deviation)
        self._run = self._follow(self._schedule)


def _simplest(strategy: SearchStrategy[Any]) -> Any:
    """The event that Hypothesis shrinks to."""
    import hypothesis

    with quiet():
        return hypothesis.find(
            strategy, lambda _: True, settings=quiet_settings(100, shrink=True), random=None
        )
