"""The queues of the standard library under control."""

from __future__ import annotations

import queue
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.stress.control.tries import fails, holds

KINDS: list[Callable[[], Any]] = [
    lambda: queue.Queue(),
    lambda: queue.LifoQueue(),
    lambda: queue.PriorityQueue(),
    lambda: queue.SimpleQueue(),
]


def _id(make: Callable[[], Any]) -> str:
    return type(make()).__name__


@pytest.fixture(params=KINDS, ids=_id)
def make(request: pytest.FixtureRequest) -> Any:
    return request.param


def state_of(make: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: SimpleNamespace(queue=make(), got=[])


def put_two(state: Any) -> None:
    state.queue.put(1)
    state.queue.put(2)


def take_two(state: Any) -> None:
    state.got.append(state.queue.get())
    state.got.append(state.queue.get())


def both(state: Any) -> bool:
    return sorted(state.got) == [1, 2]


def test_all_that_is_put_is_got(make: Callable[[], Any]) -> None:
    holds(state_of(make), [put_two, take_two], both, preemptions=1)


def test_more_is_awaited_than_ever_comes(make: Callable[[], Any]) -> None:
    found = fails(state_of(make), [lambda state: state.queue.put(1), take_two], oracle="deadlock")
    assert found.preemptions == 0


def test_a_timeout_passes_in_virtual_time(make: Callable[[], Any]) -> None:
    def take(state: Any) -> None:
        with pytest.raises(queue.Empty):
            state.queue.get(timeout=3600)
        with pytest.raises(queue.Empty):
            state.queue.get(block=False)
        with pytest.raises(queue.Empty):
            state.queue.get_nowait()

    holds(state_of(make), [take, lambda state: None], preemptions=1)


def test_looked_at_and_then_taken(make: Callable[[], Any]) -> None:
    def setup() -> Any:
        state = state_of(make)()
        state.queue.put(1)
        return state

    def take(state: Any) -> None:
        if not state.queue.empty():
            state.got.append(state.queue.get_nowait())

    assert "Empty" in fails(setup, [take, take], oracle="exception").sentence


def test_a_full_one_makes_the_producer_wait() -> None:
    holds(state_of(lambda: queue.Queue(maxsize=1)), [put_two, take_two], both, preemptions=1)


def test_a_full_one_refuses() -> None:
    def put(state: Any) -> None:
        state.queue.put(1)
        with pytest.raises(queue.Full):
            state.queue.put(2, timeout=5)
        with pytest.raises(queue.Full):
            state.queue.put_nowait(2)

    holds(state_of(lambda: queue.Queue(maxsize=1)), [put, lambda state: None], preemptions=1)


def test_order_is_the_queues() -> None:
    def setup() -> Any:
        return SimpleNamespace(
            queues=[queue.Queue(), queue.LifoQueue(), queue.PriorityQueue()], got=[]
        )

    def use(state: Any) -> None:
        for each in state.queues:
            for item in (2, 3, 1):
                each.put(item)
            state.got.append([each.get() for _ in range(3)])

    def ordered(state: Any) -> bool:
        return bool(state.got == [[2, 3, 1], [1, 3, 2], [1, 2, 3]])

    holds(setup, [use, lambda state: None], ordered, preemptions=1)


def test_join_waits_for_all_that_was_taken() -> None:
    def work(state: Any) -> None:
        state.got.append(state.queue.get())
        state.queue.task_done()

    def produce(state: Any) -> None:
        state.queue.put(1)
        state.queue.join()
        assert state.got == [1]

    holds(state_of(lambda: queue.Queue()), [work, produce], preemptions=1)


def test_join_and_a_task_never_done() -> None:
    def produce(state: Any) -> None:
        state.queue.put(1)
        state.queue.join()

    found = fails(
        state_of(lambda: queue.Queue()),
        [lambda state: state.queue.get(), produce],
        oracle="deadlock",
    )
    assert found.preemptions == 0
