"""Which programs to search, one after the other, under one budget."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lmi_runtime.stress.control import execute
from lmi_runtime.stress.search import ExampleStore, Replay, SearchResult, SearchSettings
from lmi_runtime.stress.search.events import search_events
from lmi_runtime.stress.search.ledger import Ledger
from lmi_runtime.stress.search.portfolio import Portfolio
from lmi_runtime.stress.search.runner import Runner
from lmi_runtime.stress.subject.facts import Subject
from lmi_runtime.stress.subject.stage import Stage
from lmi_runtime.stress.subject.survey import Survey

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["Answer", "search_handler"]

_MOST_CASES = 6
"""Different events that are tried in pairs of equals; more only take turns."""

_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What was found.

    Attributes:
        result: Of the search, serial runs counted.
        notes: Sentences for the report.
    """

    result: SearchResult
    notes: tuple[str, ...]


def search_handler(
    subject: Subject,
    stage: Stage,
    events: Sequence[Any] | SearchStrategy[Any],
    settings: SearchSettings,
    *,
    concurrency: int,
) -> Answer:
    """
    Look for events and a schedule under which invocations of a handler get in each other's way.

    One invocation first, then two, up to `concurrency`; each with its events marked in several
    ways, because a mark that tells two invocations apart also keeps them from meeting at one key.

    Args:
        subject: The handler.
        stage: The process.
        events: Events that take turns, or a strategy that draws one.
        settings: Budget, bounds, seed; with `first`, only that is run again.
        concurrency: Most invocations at once.

    Raises:
        Exception: Whatever the handler's module raises when it is imported.

    Thread safety: one search at a time in a process, under control.
    """
    return _HandlerSearch(subject, stage, events, settings, concurrency).answer()


class _HandlerSearch:
    def __init__(
        self,
        subject: Subject,
        stage: Stage,
        events: Sequence[Any] | SearchStrategy[Any],
        settings: SearchSettings,
        concurrency: int,
    ) -> None:
        self._subject = subject
        self._strategy = None if isinstance(events, Sequence) else events
        self._settings = settings
        self._concurrency = concurrency
        self._survey = Survey(subject, stage, execute, settings.options)
        self._runner = Runner(execute, settings)
        self._ledger = Ledger()
        # By identity of the program, which the survey keeps.
        self._portfolios: dict[int, Portfolio] = {}
        if isinstance(events, Sequence):
            self._events: tuple[Any, ...] = tuple(events)
        elif settings.first:
            self._events = settings.first[0].events[:1]
        else:
            self._events = (_simplest(events),)

    def answer(self) -> Answer:
        """All stages, until one finds enough."""
        settings = self._settings
        first = settings.first[0].events[0] if settings.first else self._events[0]
        if not self._survey.begin(first):
            return self._finished(SearchResult(seconds=self._runner.seconds))
        if settings.first:
            return self._finished(self._replay(settings.first[0]))
        return self._finished(self._search())

    # ------------------------------------------------------------------ what is tried, in order

    def _search(self) -> SearchResult:
        known = self._replay_stored()
        if known is not None:
            return known.answer()
        levels = self._survey.levels(self._events[0])
        for events, level in self._cases(levels):
            portfolio = self._portfolio(events, level)
            share = _SHARE if len(events) > 1 else _SHARE / 2
            portfolio.explore(portfolio.first_passes(share * self._affordable()))
            if self._ledger.suffices(self._settings.stop_at):
                return portfolio.answer()
            if portfolio.stopped:
                break
        if self._strategy is not None:
            return self._search_events(levels[0])
        # What was claimed of fewer invocations is no answer, even if there is no time left.
        return self._rest(levels)

    def _affordable(self) -> float:
        """Which part of the runs that were asked for there will be time for, as far as known."""
        runner, settings = self._runner, self._settings
        per_run = runner.seconds / max(1, runner.schedules + self._survey.runs)
        return min(1.0, settings.budget_s / max(1e-9, per_run * settings.max_schedules))

    def _rest(self, levels: Sequence[int]) -> SearchResult:
        events = _cycled(self._events, self._concurrency)
        portfolio = self._portfolio(events, levels[0])
        portfolio.explore(portfolio.everything())
        if len(self._events) > 1 or len(levels) > 1:
            self._ledger.note(
                f"Bounds are for {self._concurrency} invocations"
                f"{' with the events in turn' if len(self._events) > 1 else ''}."
            )
        return portfolio.answer()

    def _cases(self, levels: Sequence[int]) -> Iterator[tuple[tuple[Any, ...], int]]:
        different = self._events[:_MOST_CASES]
        for event in different:
            yield (event,), levels[0]
        for number in range(2, self._concurrency + 1):
            for level in levels:
                for event in different:
                    yield (event,) * number, level
                if len(self._events) > 1:
                    yield _cycled(self._events, number), level

    def _search_events(self, level: int) -> SearchResult:
        assert self._strategy is not None
        before = self._runner
        left = replace(
            self._settings,
            max_schedules=max(1, before.left),
            budget_s=max(1.0, self._settings.budget_s - before.seconds),
            examples=None,
        )
        result = search_events(
            lambda events: self._survey.program(tuple(events), level),
            self._strategy,
            execute,
            left,
            concurrency=self._concurrency,
        )
        coverage = result.coverage
        searches = {
            name: coverage.searches.get(name, 0) + before.searches.get(name, 0)
            for name in (*before.searches, *coverage.searches)
        }
        return replace(
            result,
            seconds=before.seconds,
            notes=tuple(dict.fromkeys((*self._ledger.notes, *result.notes))),
            coverage=replace(
                coverage,
                schedules=coverage.schedules + before.schedules,
                points=max(coverage.points, before.points),
                searches=searches,
                uncontrolled=tuple(dict.fromkeys((*before.uncontrolled, *coverage.uncontrolled))),
            ),
        )

    def _portfolio(self, events: tuple[Any, ...], level: int) -> Portfolio:
        """The portfolio of a program; later stages go on where earlier ones left it."""
        program = self._survey.program(events, level)
        known = self._portfolios.get(id(program))
        if known is None:
            settings = replace(self._settings, first=())
            known = Portfolio(program, settings, self._runner, self._ledger, events)
            self._portfolios[id(program)] = known
        return known

    def _is_over(self, portfolio: Portfolio) -> bool:
        return portfolio.stopped or self._ledger.suffices(self._settings.stop_at)

    # ------------------------------------------------------------------ what failed before

    def _replay(self, replay: Replay) -> SearchResult:
        settings = replace(self._settings, first=(replay,))
        program = self._survey.program(replay.events, _level_of(replay))
        portfolio = Portfolio(program, settings, self._runner, self._ledger, replay.events)
        portfolio.explore(portfolio.replays())
        if not self._ledger.found:
            self._ledger.note("The schedule of the token was run, and does not fail any more.")
        return portfolio.answer()

    def _replay_stored(self) -> Portfolio | None:
        if self._settings.examples is None:
            return None
        store = ExampleStore(self._settings.examples)
        for level in (1, 2, 0):
            for replay in store.load(f"{self._subject.name}#{level}"):
                settings = replace(self._settings, first=(replay,))
                program = self._survey.program(replay.events, level)
                portfolio = Portfolio(program, settings, self._runner, self._ledger, replay.events)
                portfolio.explore(portfolio.replays())
                if self._is_over(portfolio):
                    return portfolio
        return None

    # ------------------------------------------------------------------ in the end

    def _finished(self, result: SearchResult) -> Answer:
        survey = self._survey
        outside = [
            sentence
            for program in survey._programs.values()
            for sentence in program.known.outside
        ]  # fmt: skip
        coverage = result.coverage
        sentences = dict.fromkeys((*coverage.uncontrolled, *survey.uncontrolled, *outside))
        searches = {"alone": survey.runs, **coverage.searches}
        coverage = replace(
            coverage,
            schedules=coverage.schedules + survey.runs,
            searches=searches,
            uncontrolled=tuple(sentences),
            stopped_by=coverage.stopped_by or "uncontrolled",
        )
        return Answer(replace(result, coverage=coverage), tuple(survey.notes))


def _cycled(events: Sequence[Any], number: int) -> tuple[Any, ...]:
    return tuple(events[index % len(events)] for index in range(number))


def _level_of(replay: Replay) -> int:
    """From the name of the program that made it; see `HandlerProgram.name`."""
    _, _, level = replay.subject.rpartition("#")
    return int(level) if level in ("0", "1", "2") else 0


def _simplest(strategy: SearchStrategy[Any]) -> Any:
    """The event that Hypothesis shrinks to."""
    import hypothesis

    from lmi_runtime.stress.search.generated import quiet_settings

    found = hypothesis.find(
        strategy, lambda _: True, settings=quiet_settings(100, shrink=True), random=None
    )
    json.dumps(found)
    return found
