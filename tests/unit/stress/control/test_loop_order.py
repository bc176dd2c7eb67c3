"""Left alone, the controlled loop does everything in the order of the stock loop."""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.stress.control.task_programs import State, run_once

Log = list[Any]
_PROGRAMS: list[Callable[[Log], Any]] = []
_variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def _program(function: Callable[[Log], Any]) -> Callable[[Log], Any]:
    _PROGRAMS.append(function)
    return function


@_program
async def yields(log: Log) -> None:
    async def one(name: str) -> None:
        for step in range(3):
            log.append((name, step))
            await asyncio.sleep(0)

    await asyncio.gather(*(one(name) for name in "abc"))


@_program
async def sleeps(log: Log) -> None:
    async def one(seconds: float) -> None:
        await asyncio.sleep(seconds)
        log.append(seconds)

    await asyncio.gather(one(3), one(1), one(2), one(1), one(0), one(1))


@_program
async def locks(log: Log) -> None:
    lock = asyncio.Lock()

    async def one(name: str) -> None:
        for step in range(2):
            async with lock:
                log.append((name, step))
                await asyncio.sleep(0)

    await asyncio.gather(*(one(name) for name in "abcd"))


@_program
async def events(log: Log) -> None:
    event = asyncio.Event()

    async def wait(name: str) -> None:
        await event.wait()
        log.append(name)

    async def tell() -> None:
        await asyncio.sleep(1)
        event.set()
        log.append("set")

    await asyncio.gather(wait("a"), tell(), wait("b"))


@_program
async def conditions(log: Log) -> None:
    condition = asyncio.Condition()

    async def wait(name: str) -> None:
        async with condition:
            await condition.wait()
            log.append(name)

    async def tell() -> None:
        await asyncio.sleep(0)
        async with condition:
            condition.notify(2)
        await asyncio.sleep(0)
        async with condition:
            condition.notify_all()

    await asyncio.gather(wait("a"), wait("b"), wait("c"), tell())


@_program
async def semaphores(log: Log) -> None:
    semaphore = asyncio.BoundedSemaphore(2)

    async def one(number: int) -> None:
        async with semaphore:
            log.append(("in", number))
            await asyncio.sleep(number)
        log.append(("out", number))

    await asyncio.gather(*(one(number) for number in range(5)))


@_program
async def queues(log: Log) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(2)

    async def produce(start: int) -> None:
        for number in range(start, start + 4):
            await queue.put(number)
            log.append(("put", number))

    async def consume(name: str) -> None:
        while True:
            log.append((name, await queue.get()))
            queue.task_done()

    consumers = [asyncio.create_task(consume(name)) for name in "ab"]
    await asyncio.gather(produce(0), produce(10))
    await queue.join()
    for task in consumers:
        task.cancel()
    log.append(await asyncio.gather(*consumers, return_exceptions=True) == [])


@_program
async def priorities(log: Log) -> None:
    queue: asyncio.PriorityQueue[int] = asyncio.PriorityQueue()
    for number in (3, 1, 2):
        queue.put_nowait(number)
    while not queue.empty():
        log.append(await queue.get())


@_program
async def groups(log: Log) -> None:
    async def one(number: int) -> int:
        try:
            await asyncio.sleep(number)
            if number == 2:
                raise ValueError(number)
        except asyncio.CancelledError:
            log.append("cancelled")  # in any order: the stock group keeps them in a set
            raise
        log.append(number)
        return number

    try:
        async with asyncio.TaskGroup() as group:
            for number in (1, 2, 3, 4):
                group.create_task(one(number))
    except* ValueError as errors:
        log.append(str(errors.exceptions))


@_program
async def time_outs(log: Log) -> None:
    for seconds in (1, 3):
        try:
            log.append(await asyncio.wait_for(asyncio.sleep(seconds, "slept"), 2))
        except TimeoutError:
            log.append("late")
    try:
        async with asyncio.timeout(1):
            await asyncio.sleep(5)
    except TimeoutError:
        log.append("late")


@_program
async def shields(log: Log) -> None:
    async def inner() -> None:
        await asyncio.sleep(2)
        log.append("inner")

    task = asyncio.create_task(inner())
    try:
        await asyncio.wait_for(asyncio.shield(task), 1)
    except TimeoutError:
        log.append("late")
    await task


@_program
async def chains(log: Log) -> None:
    async def third() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            log.append("third")
            await asyncio.sleep(0)
            raise

    async def second() -> None:
        try:
            await asyncio.create_task(third())
        finally:
            log.append("second")

    first = asyncio.create_task(second())
    await asyncio.sleep(1)
    log.append(first.cancel())
    await asyncio.wait([first])
    log.append(first.cancelled())


@_program
async def generators(log: Log) -> None:
    async def numbers() -> Any:
        try:
            for number in range(5):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            log.append("closed")

    async for number in numbers():
        log.append(number)
        if number == 1:
            break
    log.append("left")
    again = numbers()
    log.append(await anext(again))
    await again.aclose()
    await asyncio.sleep(0)


@_program
async def contexts(log: Log) -> None:
    async def one(name: str) -> None:
        log.append(_variable.get())
        _variable.set(name)
        await asyncio.sleep(0)
        log.append(_variable.get())
        log.append(await asyncio.create_task(read()))

    async def read() -> str:
        return _variable.get()

    _variable.set("outer")
    await asyncio.gather(one("a"), one("b"))
    log.append(_variable.get())


@_program
async def callbacks(log: Log) -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(2, log.append, "later 2")
    loop.call_later(1, log.append, "later 1")
    loop.call_at(loop.time() + 1, log.append, "at 1")
    loop.call_later(0, log.append, "later 0")
    loop.call_soon(log.append, "soon")
    cancelled = loop.call_soon(log.append, "never")
    loop.call_soon(loop.call_soon, log.append, "sooner")
    cancelled.cancel()
    loop.call_later(1, log.append, "never").cancel()
    await asyncio.sleep(0)
    log.append("task")
    await asyncio.sleep(3)


@_program
async def futures(log: Log) -> None:
    future = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: log.append(done.result()))

    async def wait(name: str) -> None:
        log.append((name, await future))

    tasks = [asyncio.create_task(wait(name)) for name in "ab"]
    await asyncio.sleep(0)
    future.set_result(1)
    log.append("set")
    await asyncio.gather(*tasks)


@_program
async def firsts(log: Log) -> None:
    tasks = [asyncio.create_task(asyncio.sleep(number, number)) for number in (3, 1, 2)]
    done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    log.append([task.result() for task in done])
    log.append(len(left))
    for each in asyncio.as_completed(left):
        log.append(await each)


@_program
async def barriers(log: Log) -> None:
    barrier = asyncio.Barrier(3)

    async def one(name: str) -> None:
        log.append((name, await barrier.wait()))

    await asyncio.gather(*(one(name) for name in "abc"))


@_program
async def failures(log: Log) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("no")

    results = await asyncio.gather(fail(), asyncio.sleep(0, 1), return_exceptions=True)
    log.append([repr(each) for each in results])
    try:
        await asyncio.gather(fail(), asyncio.sleep(1))
    except KeyError as error:
        log.append(repr(error))


@_program
async def trees(log: Log) -> None:
    async def node(name: str, depth: int) -> None:
        log.append(name)
        if depth:
            await asyncio.gather(*(node(name + side, depth - 1) for side in "lr"))
        log.append(name.upper())

    await node("n", 3)


@_program
async def busy_with_timers(log: Log) -> None:
    """Timers that are due at once come after what has been made ready meanwhile."""
    loop = asyncio.get_running_loop()

    async def one(name: str) -> None:
        for step in range(4):
            loop.call_later(0, log.append, (name, step, "timer"))
            log.append((name, step))
            await asyncio.sleep(0)

    await asyncio.gather(one("a"), one("b"))


class _Instantly(selectors.SelectSelector):
    """Waits for nothing; every look at the clock takes a moment, as it does."""

    now = 0.0

    def time(self) -> float:
        self.now += 1e-6
        return self.now

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(0)


def _stock(program: Callable[[Log], Any]) -> Log:
    selector = _Instantly()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = selector.time  # type: ignore[method-assign]
    log: Log = []
    try:
        # As a task among the tasks of the loop, as a participant is.
        loop.run_until_complete(contextvars.copy_context().run(loop.create_task, program(log)))
    finally:
        loop.close()
    return log


@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize("program", _PROGRAMS, ids=lambda program: program.__name__)
def test_that_nothing_is_reordered(program: Callable[[Log], Any], record: bool) -> None:
    def calls(state: Any) -> Any:
        state.log = []

        async def participant() -> None:
            await program(state.log)

        return [participant]

    state, execution = run_once(calls, setup=State, record=record)
    assert not execution.complaints
    assert not execution.uncontrolled
    assert execution.taken == ()
    assert state.log == _stock(program)
    assert state.log


@pytest.mark.parametrize("program", _PROGRAMS, ids=lambda program: program.__name__)
def test_that_a_run_inside_a_function_is_the_same(program: Callable[[Log], Any]) -> None:
    def calls(state: Any) -> Any:
        state.log = []
        return [lambda: asyncio.run(program(state.log))]

    state, execution = run_once(calls, setup=State)
    assert not execution.complaints
    assert state.log == _stock(program)
