"""Trio, and anyio on both event loops."""

from __future__ import annotations

from typing import Any

import pytest

from lmi_runtime.stress.control import UncontrolledIO
from tests.unit.stress.control.task_programs import State, run_once, search_all

trio = pytest.importorskip("trio")
anyio = pytest.importorskip("anyio")


def _state() -> Any:
    return State(n=0, log=[])


def _add_twice(locked: bool) -> Any:
    def calls(state: Any) -> list[Any]:
        lock = trio.Lock()

        async def add() -> None:
            if locked:
                async with lock:
                    await unlocked()
            else:
                await unlocked()

        async def unlocked() -> None:
            seen = state.n
            await trio.lowlevel.checkpoint()
            state.n = seen + 1

        return [add, add]

    return calls


def _two(state: Any) -> bool:
    return bool(state.n == 2)


def test_that_a_race_is_found() -> None:
    assert search_all(_add_twice(locked=False), _two, _state, backend="trio").found


def test_that_a_lock_holds_under_every_schedule() -> None:
    result = search_all(_add_twice(locked=True), _two, _state, backend="trio")
    assert not result.found
    assert result.coverage.bound >= 2
    assert not result.coverage.uncontrolled


def test_that_time_is_virtual_and_order_first_in_first_out() -> None:
    def calls(state: Any) -> list[Any]:
        def steps(name: str, seconds: float) -> Any:
            async def participant() -> None:
                for _ in range(3):
                    state.log.append((name, trio.current_time()))
                    await trio.sleep(seconds)

            return participant

        return [steps("a", 100), steps("b", 150)]

    state, execution = run_once(calls, setup=_state, backend="trio")
    assert state.log == [
        ("a", 1000), ("b", 1000), ("a", 1100), ("b", 1150), ("a", 1200), ("b", 1300),
    ]  # fmt: skip
    assert not execution.complaints


def test_that_a_late_timer_is_tried() -> None:
    def calls(state: Any) -> list[Any]:
        async def participant() -> None:
            with trio.move_on_after(10):
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
                state.n = 2

        return [participant]

    found = search_all(calls, _two, _state, backend="trio").found
    assert [deviation.to for deviation in found[0].finding.schedule] == [-1]


def test_that_threads_and_tasks_share_a_run() -> None:
    def calls(state: Any) -> list[Any]:
        def add() -> None:
            seen = state.n
            state.log.append(seen)
            state.n = seen + 1

        async def participant() -> None:
            await trio.to_thread.run_sync(add)

        return [participant, participant]

    found = search_all(calls, _two, _state, backend="trio").found
    assert found
    assert found[0].finding.preemptions == 1


def test_that_a_deadlock_is_told_and_no_hang() -> None:
    def calls(state: Any) -> list[Any]:
        lock, event = trio.Lock(), trio.Event()

        async def waits() -> None:
            async with lock:
                await event.wait()

        async def tells() -> None:
            async with lock:
                event.set()

        return [waits, tells]

    _, execution = run_once(calls, backend="trio")
    (complaint,) = execution.complaints
    assert complaint.oracle == "deadlock"
    assert "waits holds lock and waits to be notified through event" in complaint.sentence
    assert "tells waits for lock, held by waits" in complaint.sentence


def test_that_cancellation_is_offered() -> None:
    def calls(state: Any) -> list[Any]:
        async def participant() -> None:
            state.n = 1
            await trio.sleep(1)
            state.n = 2

        return [participant]

    result = search_all(calls, _two, _state, backend="trio", cancels=True)
    assert [each.kind for each in result.found[0].finding.schedule] == ["cancel"]


def test_that_one_participant_after_the_other_is_possible() -> None:
    def calls(state: Any) -> list[Any]:
        def named(name: str) -> Any:
            async def participant() -> None:
                state.log.append(name)
                await trio.sleep(1)
                state.log.append(name)

            return participant

        return [named("a"), named("b")]

    state, _ = run_once(calls, setup=_state, backend="trio", serial=(1, 0))
    assert state.log == ["b", "b", "a", "a"]


def test_that_an_error_is_the_participants() -> None:
    def calls(state: Any) -> list[Any]:
        async def fails() -> None:
            raise ValueError("mine")

        async def works() -> int:
            await trio.sleep(1)
            return 1

        return [fails, works]

    _, execution = run_once(calls, backend="trio")
    assert isinstance(execution.ended[0].error, ValueError)
    assert execution.ended[1].result == 1


def test_that_sockets_are_refused() -> None:
    def calls(state: Any) -> list[Any]:
        async def participant() -> None:
            one, other = trio.socket.socketpair()
            with one, other:
                await one.recv(1)

        return [participant]

    _, execution = run_once(calls, backend="trio")
    assert isinstance(execution.ended[0].error, UncontrolledIO)
    assert "test_trio_host.py" in execution.uncontrolled[0]


def test_that_a_run_inside_a_function_is_under_control() -> None:
    def calls(state: Any) -> list[Any]:
        def participant() -> None:
            trio.run(trio.sleep, 10_000)
            state.log.append("slept")

        return [participant]

    state, execution = run_once(calls, setup=_state)
    assert state.log == ["slept"]
    assert not execution.complaints


async def _everything(log: list[Any]) -> None:
    """A bit of all that anyio has."""
    limiter, event = anyio.CapacityLimiter(1), anyio.Event()
    send, receive = anyio.create_memory_object_stream[int](1)

    async def produce() -> None:
        async with send:
            for number in range(3):
                await send.send(number)

    async def wait() -> None:
        await event.wait()
        log.append("told")

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        group.start_soon(wait)
        async with receive:
            log.extend([number async for number in receive])
        log.append(await anyio.to_thread.run_sync(lambda: "thread", limiter=limiter))
        await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(anyio.sleep, 1))
        anyio.to_thread.current_default_thread_limiter()
        event.set()
    with anyio.move_on_after(5) as scope:
        await anyio.sleep_forever()
    log.append(scope.cancelled_caught)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_that_anyio_works(backend: Any) -> None:
    def calls(state: Any) -> list[Any]:
        async def participant() -> None:
            await _everything(state.log)

        return [participant]

    logs = []
    for record in (False, False, True):
        state, execution = run_once(calls, setup=_state, backend=backend, record=record)
        assert not execution.complaints
        assert not execution.uncontrolled
        logs.append((state.log, execution.taken, *execution.decisions))
    assert logs[0][0] == [0, 1, 2, "thread", "told", True]
    assert logs[1] == logs[0]
    assert logs[2] == logs[0]
    result = search_all(
        calls, lambda s: s.log[-1] is True, _state, bound=1, schedules=60, backend=backend
    )
    assert [found.finding.sentence for found in result.found] == []


def test_that_trio_is_itself_again_afterwards() -> None:
    run_once(_add_twice(locked=False), setup=_state, backend="trio")
    before = trio.run(_thread_name)
    assert trio.run(_thread_name) == before


async def _thread_name() -> str:
    return str(await trio.to_thread.run_sync(lambda: "thread"))
