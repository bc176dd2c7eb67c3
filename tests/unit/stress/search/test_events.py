"""Events and schedule together: found, and made small together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from lmi_runtime.stress.model import Granularity
from lmi_runtime.stress.search import SearchSettings, decode, search_events
from tests.unit.stress.budgets import AMPLE_S
from tests.unit.stress.search.toy import Body, Engine, State, Toy

EVENTS = st.fixed_dictionaries({"key": st.integers(0, 9), "text": st.text()})
SETTINGS = SearchSettings(
    budget_s=AMPLE_S, max_schedules=3000, granularities=(Granularity.FREE_THREADED,)
)

Make = Callable[[tuple[Any, ...]], Toy]


def shop(races: Callable[[Any], bool]) -> Make:
    """Counts events by key, wrongly for those that race."""

    def body(event: Any) -> Callable[[State], Body]:
        def run(state: State) -> Body:
            if races(event):
                yield f"read {event['key']}"
                seen = state.get(event["key"], 0)
                yield f"write {event['key']}"
                state[event["key"]] = seen + 1
            else:
                yield "read v"

        return run

    def make(events: tuple[Any, ...]) -> Toy:
        def wrong(state: State) -> str | None:
            counts = {key: sum(event["key"] == key for event in events) for key in state}
            return None if state == counts else "lost"

        return Toy([body(event) for event in events], wrong, name="shop")

    return make


def test_the_simplest_events_find_most_bugs_in_a_few_runs() -> None:
    result = search_events(shop(lambda _: True), EVENTS, Engine(), SETTINGS, concurrency=3)
    (found,) = result.found
    assert found.finding.events == ({"key": 0, "text": ""},) * 2
    assert (found.finding.preemptions, found.finding.minimal) == (1, True)
    assert found.after <= 6


def test_one_invocation_is_enough_for_what_needs_no_other() -> None:
    make = shop(lambda _: False)

    def failing(events: tuple[Any, ...]) -> Toy:
        return replace(make(events), wrong=lambda _: "always wrong")

    (finding,) = search_events(failing, EVENTS, Engine(), SETTINGS, concurrency=3).findings
    assert len(finding.events) == 1
    assert finding.schedule == ()


@pytest.mark.parametrize("seed", range(3))
def test_events_and_schedule_shrink_together(seed: int) -> None:
    """Only equal keys from 5 race: two invocations, the simplest such, one preemption."""
    make = shop(lambda event: event["key"] >= 5)
    settings = replace(SETTINGS, seed=seed)
    (found,) = search_events(make, EVENTS, Engine(), settings, concurrency=3).found
    assert found.search == "hypothesis"
    assert found.finding.events == ({"key": 5, "text": ""},) * 2
    assert (found.finding.preemptions, found.finding.minimal) == (1, True)


def test_the_same_seed_draws_the_same_and_another_seed_something_else() -> None:
    make = shop(lambda event: event["key"] == 7)
    engines = []
    for seed in (1, 1, 2):
        engines.append(Engine())
        settings = replace(SETTINGS, seed=seed, max_schedules=200)
        search_events(make, EVENTS, engines[-1], settings)
    assert engines[0].orders == engines[1].orders
    assert engines[0].orders != engines[2].orders


def test_a_sound_program_is_searched_to_its_bound_for_the_simplest_events() -> None:
    settings = replace(SETTINGS, max_schedules=600)
    result = search_events(shop(lambda _: False), EVENTS, Engine(), settings)
    assert result.findings == ()
    assert result.coverage.bound >= 2
    assert '2 invocations with the simplest event: {"key": 0, "text": ""}' in result.notes[0]
    assert result.coverage.searches["hypothesis"] > 100


def test_the_budget_is_for_all_events_together() -> None:
    engine = Engine()
    settings = replace(SETTINGS, max_schedules=60)
    result = search_events(shop(lambda _: False), EVENTS, engine, settings)
    assert engine.runs == result.coverage.schedules <= 60


def test_an_error_of_the_program_itself_is_not_shrunk_but_raised() -> None:
    make = shop(lambda _: False)

    def broken(events: tuple[Any, ...]) -> Toy:
        if any(event["key"] for event in events):
            raise LookupError("no such fixture")
        return make(events)

    with pytest.raises(LookupError, match="no such fixture"):
        search_events(broken, EVENTS, Engine(), SETTINGS)


def test_events_that_failed_before_are_tried_first(tmp_path: Path) -> None:
    make = shop(lambda event: event["key"] >= 5)
    settings = replace(SETTINGS, examples=tmp_path)
    first = search_events(make, EVENTS, Engine(), settings).found[0]
    again = search_events(make, EVENTS, Engine(), settings).found[0]
    assert (again.search, again.after) == ("replay", 1)
    assert again.finding.events == first.finding.events


# In drawing, in three places while it is made small, and when that is done.
@pytest.mark.parametrize("limit", [140, 150, 180, 210, 240])
def test_the_budget_may_end_at_any_moment(limit: int) -> None:
    settings = replace(SETTINGS, max_schedules=limit)
    result = search_events(shop(lambda event: event["key"] == 7), EVENTS, Engine(), settings)
    assert result.coverage.schedules <= limit * 1.1 + 1
    assert result.coverage.uncontrolled == ()


def test_a_program_that_differs_from_case_to_case_is_no_pass() -> None:
    make = shop(lambda _: False)
    made: list[object] = []

    def fickle(events: tuple[Any, ...]) -> Toy:
        made.append(events)
        text = "fell over" if len(made) == 40 else None
        return replace(make(events), wrong=lambda _: text)

    result = search_events(fickle, EVENTS, Engine(), SETTINGS)
    assert result.findings == ()
    assert result.coverage.uncontrolled


def test_a_token_carries_the_events() -> None:
    (finding,) = search_events(shop(lambda _: True), EVENTS, Engine(), SETTINGS).findings
    assert decode(finding.token).events == finding.events
