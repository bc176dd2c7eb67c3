"""One task before all others, from some moment on."""

from __future__ import annotations

from lmi_runtime.stress.model import Deviation
from lmi_runtime.stress.program import Decision, Execution, Touched
from lmi_runtime.stress.search import SearchSettings, search
from lmi_runtime.stress.search.bursts import Burst, Order, bursts
from tests.unit.stress.budgets import AMPLE_S
from tests.unit.stress.search.toy import Body, Engine, State, Toy

A, B, TIMERS, CALLBACKS = 2, 3, -1, -2


def turns(number: int) -> list[Decision]:
    """Two tasks that take turns."""
    return [
        Decision("task", 0, visit, (A, B)[:: 1 if visit % 2 == 0 else -1], (A, B)[visit % 2], 7)
        for visit in range(number)
    ]


def touched(after: int, actor: int, *, writes: bool = True) -> Touched:
    return Touched(after, actor, (1, "x"), writes)


def test_a_task_goes_first_whenever_it_can_from_its_moment_on() -> None:
    burst = Burst(Order(visit=3, task=B))

    assert burst.choose("task", 0, 2, (A, B), 0) == A
    assert burst.choose("task", 0, 3, (A, B), 0) == B
    assert burst.choose("task", 0, 9, (A, B), 0) == B
    assert burst.choose("task", 0, 9, (A, 4), 0) == A
    assert burst.choose("preempt", 0, 9, (A, B), 0) == A


def test_a_task_goes_last_but_before_time_passes() -> None:
    burst = Burst(Order(visit=0, task=A, last=True))

    assert burst.choose("task", 0, 0, (A, CALLBACKS, B), 0) == CALLBACKS
    assert burst.choose("task", 0, 1, (B, A), 0) == B
    assert burst.choose("task", 0, 2, (A, TIMERS), 0) == A


def test_between_two_touches_of_the_same_state_is_the_most_promising_moment() -> None:
    run = Execution(decisions=turns(6), touches=(touched(3, A), touched(5, A), touched(6, B)))

    assert bursts(run)[0] == Order(visit=4, task=B)


def test_state_that_is_written_comes_before_state_that_is_only_read() -> None:
    def read(after: int, actor: int) -> Touched:
        return Touched(after, actor, (1, "y"), False)

    reads, later = (read(1, A), read(3, A)), read(8, B)
    writes = touched(5, A), touched(7, A), touched(8, B)

    assert bursts(Execution(decisions=turns(8), touches=(*reads, later)))[0].visit == 2
    assert bursts(Execution(decisions=turns(8), touches=(*reads, *writes, later)))[0].visit == 6


def test_every_moment_is_among_them_once() -> None:
    orders = bursts(Execution(decisions=turns(6)))

    assert len(set(orders)) == len(orders)
    assert {each.visit for each in orders if each.task == B and not each.last} == {0, 2, 4}
    assert {each.visit for each in orders if each.task == A and not each.last} == {1, 3, 5}


def test_threads_have_no_bursts() -> None:
    run = Execution(decisions=[Decision("preempt", 0, 0, (0, 1), 0, 7)])

    assert bursts(run) == []


def test_what_needs_many_deviations_is_found_at_once_and_left_with_those_it_needs() -> None:
    def slow(state: State) -> Body:
        for _ in range(5):
            yield "read y"
        if state.get("open"):
            state["wrong"] = True

    def quick(state: State) -> Body:
        yield "read y"
        state["open"] = True
        yield "write x"
        yield "write x"
        state["open"] = False

    toy = Toy([quick, slow], lambda state: "x" if state.get("wrong") else None, is_loop=True)
    result = search(toy, Engine(), SearchSettings(budget_s=AMPLE_S))

    (found,) = result.found
    assert (found.search, found.after <= 10) == ("burst", True)
    assert found.finding.minimal
    assert {each.kind for each in found.finding.schedule} == {"task"}
    assert found.finding.schedule[0] < Deviation("task", 0, 99, 0)
