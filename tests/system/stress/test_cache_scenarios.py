"""The campaigns over caches notice when a rule of theirs is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lmi_runtime.caches import Cache
from lmi_runtime.caches import cache as cache_module
from lmi_runtime.caches import flights as flights_module
from lmi_runtime.caches.flights import Flight, Flights, Waiter
from lmi_runtime.caches.storage import Shelf
from stress.scenarios import SCENARIOS
from tests.system.stress.campaigns import HUNT, searched

pytestmark = [pytest.mark.system, pytest.mark.slow]

Patch = pytest.MonkeyPatch


def a_flight_for_everybody(patch: Patch) -> None:
    def board(self: Flights, waiter: Waiter) -> None:
        flight = Flight(waiter.ask, waiter.home)
        waiter.flight, waiter.leads = flight, True
        flight.waiters[waiter] = None
        flight.aboard += 1

    patch.setattr(Flights, "board_locked", board)


def what_is_said_during_a_load_is_forgotten(patch: Patch) -> None:
    patch.setattr(Flights, "drop_locked", lambda self, key: None)


def nobody_comes_too_late(patch: Patch) -> None:
    patch.setattr(Waiter, "came_too_late", lambda self, outcome: False)


def nobody_looks_for_rings(patch: Patch) -> None:
    patch.setattr(flights_module, "hold", lambda within, token, flight: None)


def one_exception_for_all(patch: Patch) -> None:
    patch.setattr(cache_module, "own_copy", lambda error, traceback: error)


def who_lands_wakes_nobody(patch: Patch) -> None:
    patch.setattr(flights_module, "rouse_locked", lambda waiter: True)


def what_is_given_up_stays_in_the_table(patch: Patch) -> None:
    patch.setattr(Flights, "_give_up_locked", lambda self, flight: None)


def misses_are_not_looked_at_again(patch: Patch) -> None:
    real = Shelf.put

    def put(self: Shelf, entry: Any, partition: Any, now_s: float) -> Any:
        gone = self.drop(entry.key)
        out, taken = real(self, entry, partition, now_s)
        return ([gone, *out] if gone else out), taken

    # The old value goes before the new one comes, and a miss without the lock is believed.
    patch.setattr(Shelf, "put", put)
    patch.setattr(Cache, "_get_slowly", lambda self, key, default: default)


@pytest.mark.parametrize(
    ("name", "mutate"),
    [
        ("one_load", a_flight_for_everybody),
        ("one_load", who_lands_wakes_nobody),
        ("tasks_beside_threads", a_flight_for_everybody),
        ("load_and_invalidate", what_is_said_during_a_load_is_forgotten),
        ("load_and_late_tag", nobody_comes_too_late),
        ("ring_of_loads", nobody_looks_for_rings),
        ("failing_load", one_exception_for_all),
        ("cancelled_callers", what_is_given_up_stays_in_the_table),
        ("history_of_values", misses_are_not_looked_at_again),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_scenario_fails_when_the_code_is_broken(
    name: str, mutate: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    mutate(monkeypatch)

    report = searched(name, SCENARIOS[name](), HUNT)

    assert report.findings, report.coverage
