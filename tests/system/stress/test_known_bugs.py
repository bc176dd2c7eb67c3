"""
The harness still finds every seeded bug, in its smallest form, and nothing in the mended twins.

Each program is checked as `stress.bench.racebench` does it: in a process that serves one program
after another, with a budget that is a multiple of what it needs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from stress.bench.racing.crew import Crew
from stress.bench.racing.facts import Facts, find_programs
from stress.bench.racing.outcome import REPLAYS, Budget
from stress.bench.racing.tally import Row
from tests.support.repository import REPOSITORY

pytestmark = pytest.mark.system

PROGRAMS = find_programs(REPOSITORY / "stress" / "known_bugs" / "programs")
RACY = [facts for facts in PROGRAMS if facts.racy]
FIXED = [facts for facts in PROGRAMS if not facts.racy]

# By the number of schedules: how many there is time for depends on who else uses the machine.
BUDGET = Budget(schedules=2000, seconds=600.0)
MOST_TO_FAILURE = 200
"""Runs until the first failure; those that follow make it small and prove that it is."""

TWIN_BUDGET = Budget(schedules=150, seconds=600.0)
"""A twin would spend whatever it is given."""

WIDE = {"wrong_one_notified_fixed"}
"""Four threads that wait for each other: to run all their orders alone takes the whole budget."""


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    crew = Crew("lmi", [sys.executable])
    yield crew
    crew.close()


@pytest.mark.parametrize("facts", RACY, ids=lambda facts: facts.name)
def test_bug_is_found_small_and_again_each_time_it_is_replayed(crew: Crew, facts: Facts) -> None:
    row = Row("lmi", facts, crew.check(facts, BUDGET))

    assert row.outcome.verdict == "found", row.outcome
    assert row.outcome.to_failure is not None
    assert row.outcome.to_failure <= MOST_TO_FAILURE, row.outcome
    assert row.minimal, row.outcome
    assert row.outcome.replayed == REPLAYS, row.outcome


@pytest.mark.parametrize("facts", FIXED, ids=lambda facts: facts.name)
def test_twin_passes_and_the_bound_is_named(crew: Crew, facts: Facts) -> None:
    budget = BUDGET if facts.name in WIDE else TWIN_BUDGET
    row = Row("lmi", facts, crew.check(facts, budget))

    assert row.right, row.outcome
