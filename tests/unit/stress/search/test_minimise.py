"""Making a schedule smaller keeps it failing and leaves out all that can be left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.stress.model import Deviation, Schedule
from lmi_runtime.stress.search import minimise
from lmi_runtime.stress.search.minimise import cost


def preempt(visit: int, actor: int = 0) -> Deviation:
    return Deviation("preempt", actor, visit, 1 - actor)


@given(
    noise=st.sets(st.integers(0, 60), max_size=40), needed=st.sets(st.integers(0, 60), min_size=1)
)
def test_exactly_what_is_needed_is_left(noise: set[int], needed: set[int]) -> None:
    wanted = {preempt(visit) for visit in needed}

    def fails(schedule: Schedule) -> Schedule | None:
        return schedule if wanted <= set(schedule) else None

    schedule = tuple(preempt(visit) for visit in sorted(noise | needed))
    assert set(minimise(schedule, fails)) == wanted


def test_what_is_left_moves_as_early_as_it_still_fails() -> None:
    def fails(schedule: Schedule) -> Schedule | None:
        return schedule if any(10 <= each.visit < 90 for each in schedule) else None

    assert minimise((preempt(5), preempt(77)), fails) == (preempt(10),)


def test_free_choices_go_too() -> None:
    schedule = (Deviation("forced", -1, 0, 1), preempt(3))

    def fails(tried: Schedule) -> Schedule | None:
        return tried if any(each.cost for each in tried) else None

    smallest = minimise(schedule, fails)
    assert (len(smallest), cost(smallest)) == (1, 1)


def test_deviations_that_were_not_taken_are_dropped_at_once() -> None:
    asked: list[Schedule] = []

    def fails(schedule: Schedule) -> Schedule | None:
        asked.append(schedule)
        return tuple(each for each in schedule if each.visit == 0)

    many = tuple(preempt(visit) for visit in range(64))
    assert minimise(many, fails) == ()
    assert len(asked) < 8
