"""Each thing of asyncio: what is right holds under every schedule, and what is not is found."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.unit.stress.control.task_programs import State, search_all

Steps = Callable[[Any], Any]


class Pair(NamedTuple):
    """The same program without and with a defect."""

    name: str
    setup: Callable[[], Any]
    right: Steps
    wrong: Steps
    invariant: Callable[[Any], Any]
    participants: int = 2


def _counter() -> Any:
    return State(n=0, lock=asyncio.Lock(), event=asyncio.Event(), log=[])


async def _add(state: Any) -> None:
    seen = state.n
    await asyncio.sleep(0)
    state.n = seen + 1


async def lock_right(state: Any) -> None:
    async with state.lock:
        await _add(state)


async def lock_wrong(state: Any) -> None:
    if not state.lock.locked():
        await asyncio.sleep(0)
    async with asyncio.Lock():
        await _add(state)


def _signal() -> Any:
    return State(event=asyncio.Event(), data=None, seen=[], parts=["write", "read"])


async def event_right(state: Any) -> None:
    if state.parts.pop() == "read":
        await state.event.wait()
        state.seen.append(state.data)
    else:
        state.data = 1
        await asyncio.sleep(0)
        state.event.set()


async def event_wrong(state: Any) -> None:
    if state.parts.pop() == "read":
        await state.event.wait()
        state.seen.append(state.data)
    else:
        state.event.set()
        await asyncio.sleep(0)
        state.data = 1


def _store() -> Any:
    return State(condition=asyncio.Condition(), items=[], got=[], parts=["put", "get", "get"])


async def condition_right(state: Any) -> None:
    async with state.condition:
        if state.parts.pop() == "put":
            state.items += [1, 2]
            state.condition.notify_all()
            return
        await state.condition.wait_for(lambda: state.items)
        state.got.append(state.items.pop())


async def condition_wrong(state: Any) -> None:
    async with state.condition:
        if state.parts.pop() == "put":
            state.items += [1, 2]
            state.condition.notify()  # one of two that may wait
            return
        await state.condition.wait_for(lambda: state.items)
        state.got.append(state.items.pop())


def _permits() -> Any:
    return State(semaphore=asyncio.Semaphore(2), inside=0, most=0)


async def semaphore_right(state: Any) -> None:
    async with state.semaphore:
        state.inside += 1
        state.most = max(state.most, state.inside)
        await asyncio.sleep(0)
        state.inside -= 1


async def semaphore_wrong(state: Any) -> None:
    async with state.semaphore:
        state.inside += 1
        state.most = max(state.most, state.inside)
        await asyncio.sleep(0)
        state.semaphore.release()  # and again on the way out
        state.inside -= 1


def _queue() -> Any:
    queue: asyncio.Queue[int] = asyncio.Queue()
    queue.put_nowait(1)
    return State(queue=queue, got=[])


async def queue_right(state: Any) -> None:
    try:
        state.got.append(state.queue.get_nowait())
    except asyncio.QueueEmpty:
        state.got.append(None)


async def queue_wrong(state: Any) -> None:
    if state.queue.qsize():
        await asyncio.sleep(0)
        state.got.append(state.queue.get_nowait())
    else:
        state.got.append(None)


async def group_right(state: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(lock_right(state))
    assert state.n >= 1


async def group_wrong(state: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_add(state))


async def gather_right(state: Any) -> None:
    await asyncio.gather(lock_right(state))


async def gather_wrong(state: Any) -> None:
    await asyncio.gather(_add(state), asyncio.sleep(0))


async def timeout_right(state: Any) -> None:
    try:
        async with asyncio.timeout(1):
            await lock_right(state)
    except TimeoutError:
        state.n += 1


async def timeout_wrong(state: Any) -> None:
    """A late timer gives up what is done afterwards all the same."""
    task = asyncio.ensure_future(lock_right(state))
    try:
        await asyncio.wait_for(asyncio.shield(task), 1)
    except TimeoutError:
        state.n += 1
    await asyncio.wait([task])


def _stream() -> Any:
    async def numbers() -> Any:
        for number in range(4):
            await asyncio.sleep(0)
            yield number

    return State(numbers=numbers(), got=[], lock=asyncio.Lock())


async def generator_right(state: Any) -> None:
    async with state.lock:
        state.got.append(await anext(state.numbers))


async def generator_wrong(state: Any) -> None:
    state.got.append(await anext(state.numbers))


_request: contextvars.ContextVar[int] = contextvars.ContextVar("request")


def _requests() -> Any:
    return State(numbers=[1, 2], current=0, answers=[])


async def context_right(state: Any) -> None:
    number = state.numbers.pop()
    _request.set(number)
    await asyncio.sleep(0)
    state.answers.append((number, await asyncio.to_thread(_request.get)))


async def context_wrong(state: Any) -> None:
    number = state.numbers.pop()
    state.current = number
    await asyncio.sleep(0)
    state.answers.append((number, state.current))


def _same(state: Any) -> bool:
    return all(one == other for one, other in state.answers)


def _both(state: Any) -> bool:
    return bool(state.n == 2)


PAIRS = [
    Pair("Lock", _counter, lock_right, lock_wrong, _both),
    Pair("Event", _signal, event_right, event_wrong, lambda state: state.seen == [1]),
    Pair(
        "Condition",
        _store,
        condition_right,
        condition_wrong,
        lambda state: sorted(state.got) == [1, 2],
        3,
    ),
    Pair("Semaphore", _permits, semaphore_right, semaphore_wrong, lambda s: s.most <= 2, 4),
    Pair("Queue", _queue, queue_right, queue_wrong, lambda state: 1 in state.got),
    Pair("TaskGroup", _counter, group_right, group_wrong, _both),
    Pair("gather", _counter, gather_right, gather_wrong, _both),
    Pair("timeout", _counter, timeout_right, timeout_wrong, _both),
    Pair("generator", _stream, generator_right, generator_wrong, lambda s: len(s.got) == 2),
    Pair("context", _requests, context_right, context_wrong, _same),
]
each_pair = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)


def _calls(steps: Steps, participants: int) -> Any:
    def calls(state: Any) -> list[Any]:
        async def participant() -> None:
            await steps(state)

        return [participant] * participants

    return calls


@each_pair
def test_that_what_is_right_holds(pair: Pair) -> None:
    result = search_all(
        _calls(pair.right, pair.participants), pair.invariant, pair.setup, bound=2, schedules=400
    )
    assert [found.finding.sentence for found in result.found] == []
    assert not result.coverage.uncontrolled
    assert result.coverage.bound >= 1


@each_pair
def test_that_what_is_wrong_is_found(pair: Pair) -> None:
    result = search_all(_calls(pair.wrong, pair.participants), pair.invariant, pair.setup, bound=3)
    assert result.found
    assert result.found[0].finding.minimal
