"""Restart rules: when at once, when later, when no more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.supervisor.policy import RestartRules, SlotHistory

RULES = RestartRules(jitter=0.0)


@pytest.mark.parametrize(
    ("deaths", "delay_s"),
    [(0, 0.0), (1, 0.0), (2, 0.1), (3, 0.2), (4, 0.4), (7, 3.2), (8, 5.0), (10**9, 5.0)],
)
def test_the_first_death_costs_nothing_and_the_next_ones_more(deaths: int, delay_s: float) -> None:
    assert RULES.backoff_s(deaths, lambda: 0.0) == pytest.approx(delay_s)


@given(
    deaths=st.integers(2, 10**12), chance=st.floats(0, 1, exclude_max=True), jitter=st.floats(0, 1)
)
def test_jitter_only_shortens_and_never_beyond_its_share(
    deaths: int, chance: float, jitter: float
) -> None:
    full = RULES.backoff_s(deaths, lambda: 0.0)

    delay = RestartRules(jitter=jitter).backoff_s(deaths, lambda: chance)

    assert full * (1 - jitter) - 1e-9 <= delay <= full <= RULES.backoff_max_s


def test_two_workers_that_died_together_come_back_apart() -> None:
    rules = RestartRules()

    assert rules.backoff_s(5, lambda: 0.1) != rules.backoff_s(5, lambda: 0.9)


@pytest.mark.parametrize(
    ("ready_for_s", "answered", "deaths", "fruitless"),
    [
        (None, False, 3, 3),  # never ready
        (0.0, False, 3, 3),
        (9.99, False, 3, 3),
        (9.99, True, 3, 0),  # useful, but not stable: still with backoff
        (10.0, False, 1, 0),  # an idle worker that stayed is no failure
        (10.0, True, 1, 0),
    ],
)
def test_what_a_death_does_to_its_slots_history(
    ready_for_s: float | None, answered: bool, deaths: int, fruitless: int
) -> None:
    ready_s = None if ready_for_s is None else 100.0
    history = SlotHistory(deaths=2, fruitless=2, ready_s=ready_s)

    history.note_death(RULES, 100.0 + (ready_for_s or 0.0), answered=answered)

    assert history == SlotHistory(deaths=deaths, fruitless=fruitless, ready_s=None)


@pytest.mark.parametrize(
    ("fruitless", "ready_for_s", "answered", "hopeless"),
    [
        (2, None, False, False),
        (3, None, False, True),
        (3, 9.9, False, True),
        (3, 10.0, False, False),
        (3, None, True, False),
    ],
)
def test_when_a_slot_is_hopeless(
    fruitless: int, ready_for_s: float | None, answered: bool, hopeless: bool
) -> None:
    """A slot is judged by its present life too, or a recovery would come too late to count."""
    ready_s = None if ready_for_s is None else 50.0
    history = SlotHistory(deaths=3, fruitless=fruitless, ready_s=ready_s)

    assert history.hopeless(RULES, 50.0 + (ready_for_s or 0.0), answered=answered) is hopeless
