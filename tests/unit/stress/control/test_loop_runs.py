"""Threads beside tasks, cancellation, deadlocks, records and what is not under control."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

import pytest

from lmi_runtime.stress.control import UncontrolledIO
from lmi_runtime.stress.model import Deviation
from lmi_runtime.stress.oracles.conflicts import conflicts
from lmi_runtime.stress.program import Execution
from tests.unit.stress.control.task_programs import State, run_once, search_all

# ---------------------------------------------------------------------- threads and tasks


def _count() -> Any:
    return State(n=0, lock=threading.Lock(), log=[])


def _add(state: Any) -> None:
    seen = state.n
    state.log.append(seen)
    state.n = seen + 1


def _add_locked(state: Any) -> None:
    with state.lock:
        _add(state)


def _mixed(add: Any) -> Any:
    def calls(state: Any) -> list[Any]:
        async def in_thread() -> None:
            await asyncio.to_thread(add, state)

        async def in_task() -> None:
            await asyncio.sleep(0)
            add(state)

        def outside() -> None:
            add(state)

        return [in_thread, in_task, outside]

    return calls


def _three(state: Any) -> bool:
    return bool(state.n == 3)


def test_that_tasks_and_threads_race_in_one_run() -> None:
    found = search_all(_mixed(_add), _three, _count).found
    assert found
    assert found[0].finding.preemptions == 1


def test_that_a_lock_orders_tasks_and_threads() -> None:
    result = search_all(_mixed(_add_locked), _three, _count, bound=1, schedules=400)
    assert not result.found
    assert not result.coverage.uncontrolled
    assert result.coverage.bound == 1


def test_that_executors_and_other_threads_reach_the_loop() -> None:
    def calls(state: Any) -> list[Any]:
        async def serve() -> None:
            loop = asyncio.get_running_loop()
            state.loop = loop
            future = loop.create_future()
            state.future = future
            state.log.append(await loop.run_in_executor(None, lambda: "executor"))
            state.log.append(await future)

        def call() -> None:
            while not hasattr(state, "future"):
                time.sleep(1)
            state.loop.call_soon_threadsafe(state.future.set_result, "soon")

        return [serve, call]

    result = search_all(
        calls, lambda s: {"executor", "soon"} <= {*s.log}, _count, bound=1, schedules=200
    )
    assert [found.finding.sentence for found in result.found] == []
    assert not result.coverage.uncontrolled


def test_that_a_coroutine_is_run_for_a_thread() -> None:
    def calls(state: Any) -> list[Any]:
        async def answer() -> int:
            await asyncio.sleep(1)
            return 42

        async def serve() -> None:
            state.loop = asyncio.get_running_loop()
            await asyncio.to_thread(ask)

        def ask() -> None:
            state.log.append(asyncio.run_coroutine_threadsafe(answer(), state.loop).result())

        return [serve]

    state, execution = run_once(calls, setup=_count)
    assert not execution.complaints
    assert state.log == [42]


def test_that_what_a_callback_raises_is_a_failure() -> None:
    def calls(state: Any) -> list[Any]:
        async def participant() -> None:
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.set_result, 1)
            asyncio.get_running_loop().call_soon(future.set_result, 2)
            await future
            await asyncio.sleep(0)

        return [participant]

    _, execution = run_once(calls)
    assert "InvalidStateError" in execution.complaints[0].sentence


# ---------------------------------------------------------------------- what is left


def test_that_what_is_left_cleans_up_and_nobody_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def calls(state: Any) -> list[Any]:
        async def background() -> None:
            try:
                await asyncio.sleep(1_000)
            finally:
                await asyncio.sleep(0)
                state.log.append("cleaned up")

        async def fail() -> None:
            raise ValueError("nobody asks")

        async def participant() -> None:
            state.tasks = [asyncio.create_task(background()), asyncio.create_task(fail())]
            await asyncio.sleep(0)

        return [participant]

    with caplog.at_level(logging.DEBUG):
        state, execution = run_once(calls, setup=_count)
        state.tasks.clear()
    assert not execution.complaints
    assert state.log == ["cleaned up"]
    assert not caplog.records


def test_that_a_task_that_will_not_end_holds_nobody_up() -> None:
    def calls(state: Any) -> list[Any]:
        async def stubborn() -> None:
            try:
                await asyncio.sleep(1_000)
            finally:
                await asyncio.Event().wait()

        async def participant() -> None:
            state.task = asyncio.create_task(stubborn())
            await asyncio.sleep(0)

        return [participant]

    _, execution = run_once(calls)
    assert not execution.complaints
    assert execution.ended[0].finished


# ---------------------------------------------------------------------- cancellation


def _lend() -> Any:
    return State(free=["connection"], waiters=[])


def _borrowers(give_back: bool) -> Any:
    """A connection is handed to whoever waits first; cancelled just then, it has it and not."""

    def calls(state: Any) -> list[Any]:
        def put(item: str) -> None:
            while state.waiters:
                future = state.waiters.pop(0)
                if not future.done():
                    future.set_result(item)
                    return
            state.free.append(item)

        async def take() -> str:
            if state.free:
                return str(state.free.pop())
            future = asyncio.get_running_loop().create_future()
            state.waiters.append(future)
            try:
                return str(await future)
            except asyncio.CancelledError:
                if give_back and future.done() and not future.cancelled():
                    put(future.result())
                raise

        async def use() -> None:
            item = await take()
            try:
                await asyncio.sleep(0)
            finally:
                put(item)

        return [use, use]

    return calls


def _is_back(state: Any) -> bool:
    return bool(state.free == ["connection"])


def test_that_a_wakeup_lost_by_cancellation_is_found() -> None:
    result = search_all(_borrowers(give_back=False), _is_back, _lend, cancels=True)
    assert result.found
    finding = result.found[0].finding
    assert finding.preemptions == 1
    assert [deviation.kind for deviation in finding.schedule] == ["cancel"]
    assert "cancel" in [step.kind for step in finding.steps]


def test_that_a_pool_that_minds_cancellation_holds() -> None:
    result = search_all(_borrowers(give_back=True), _is_back, _lend, cancels=True)
    assert not result.found
    assert result.coverage.bound >= 2


def test_that_nobody_is_cancelled_unless_asked_for() -> None:
    _, execution = run_once(_borrowers(give_back=False), setup=_lend)
    assert "cancel" not in {decision.kind for decision in execution.decisions}


def test_that_being_cancelled_is_no_failure_and_happens_once() -> None:
    def calls(state: Any) -> list[Any]:
        async def participant() -> None:
            try:
                await asyncio.sleep(1)
            finally:
                state.log.append("cancelled")
                await asyncio.sleep(1)
                state.log.append("cleaned up")

        return [participant]

    state, execution = run_once(calls, setup=_count, cancels=True)
    cancel = next(each for each in execution.decisions if each.kind == "cancel")
    schedule = (Deviation("cancel", cancel.actor, cancel.visit, cancel.options[1]),)
    state, execution = run_once(calls, schedule, setup=_count, cancels=True)
    assert execution.taken == schedule
    assert state.log == ["cancelled", "cleaned up"]
    assert not execution.complaints
    assert execution.ended[0].cancelled
    assert execution.ended[0].error is None


# ---------------------------------------------------------------------- deadlocks


class Store:
    """Something with locks that have names."""

    def __init__(self) -> None:
        self.first = asyncio.Lock()
        self.second = asyncio.Lock()
        self.ready = asyncio.Event()
        self.changed = asyncio.Condition()
        self.jobs: asyncio.Queue[int] = asyncio.Queue()


def _crossed(state: Any) -> list[Any]:
    async def forth() -> None:
        async with state.first:
            await asyncio.sleep(0)
            async with state.second:
                pass

    async def back() -> None:
        async with state.second:
            await asyncio.sleep(0)
            async with state.first:
                pass

    async def parent() -> None:
        await asyncio.gather(back())

    return [forth, parent]


def _deadlock(execution: Execution) -> Any:
    (complaint,) = execution.complaints
    assert complaint.oracle == "deadlock"
    return complaint


def test_that_a_cycle_is_told_at_its_leaves_with_names() -> None:
    result = search_all(_crossed, setup=Store)
    finding = result.found[0].finding
    assert finding.object_path == "Store.first, Store.second"
    forth, back = sorted(finding.cycle, reverse=True)
    assert "forth holds Store.first and waits for Store.second, held by back#" in forth
    assert "holds Store.second and waits for Store.first, held by forth" in back
    assert "parent" not in finding.sentence


@pytest.mark.parametrize(
    ("wait", "words"),
    [
        ("ready", "waits to be notified through Store.ready"),
        ("changed", "waits to be notified through Store.changed"),
        ("jobs", "waits for an item in Store.jobs"),
    ],
)
def test_that_a_lost_wakeup_is_called_so(wait: str, words: str) -> None:
    def calls(state: Any) -> list[Any]:
        async def participant() -> None:
            if wait == "ready":
                await state.ready.wait()
            elif wait == "changed":
                async with state.changed:
                    await state.changed.wait()
            else:
                await state.jobs.get()

        return [participant]

    _, execution = run_once(calls, setup=Store)
    complaint = _deadlock(execution)
    assert complaint.sentence.startswith("Lost wakeup: ")
    assert words in complaint.sentence
    assert not execution.ended[0].finished


def test_that_a_lock_never_given_back_is_told() -> None:
    def calls(state: Any) -> list[Any]:
        async def keeper() -> None:
            await state.first.acquire()

        async def other() -> None:
            await asyncio.sleep(1)
            await state.first.acquire()

        return [keeper, other]

    _, execution = run_once(calls, setup=Store)
    assert "other waits for Store.first, held by keeper (done)" in _deadlock(execution).sentence


# ---------------------------------------------------------------------- records


def _conflicts(calls: Any, setup: Any = _count) -> list[str]:
    _, execution = run_once(calls, setup=setup, record=True)
    assert not execution.complaints
    return [each.location.path for each in conflicts(execution.steps, execution.actors)]


def _in_order(how: str) -> Any:
    def calls(state: Any) -> list[Any]:
        async def write() -> None:
            state.n = 1
            await asyncio.sleep(0)
            state.n = 2
            state.event.set()
            state.queue.put_nowait(1)

        async def participant() -> None:
            state.event, state.queue = asyncio.Event(), asyncio.Queue()
            if how == "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(write())
            elif how == "gather":
                await asyncio.gather(write(), asyncio.sleep(1))
            elif how == "wait":
                await asyncio.wait([asyncio.create_task(write())])
            elif how == "done":
                task = asyncio.create_task(write())
                await asyncio.sleep(1)
                await task
            elif how == "event":
                task = asyncio.create_task(write())
                await asyncio.sleep(1)
                await state.event.wait()
            elif how == "queue":
                task = asyncio.create_task(write())
                await state.queue.get()
            else:
                task = asyncio.create_task(write())
                await asyncio.sleep(1)
            state.n = 3

        return [participant]

    return calls


@pytest.mark.parametrize("how", ["group", "gather", "wait", "done", "event", "queue"])
def test_that_what_is_awaited_comes_before(how: str) -> None:
    assert _conflicts(_in_order(how)) == []


def test_that_waiting_long_enough_orders_nothing() -> None:
    assert any("n" in path for path in _conflicts(_in_order("luck")))


def test_that_a_lock_orders_even_where_nobody_waited() -> None:
    def calls(state: Any) -> list[Any]:
        lock = asyncio.Lock()

        async def participant() -> None:
            async with lock:
                state.n += 1

        return [participant, participant]

    assert _conflicts(calls) == []


def test_that_steps_tell_who_started_whom() -> None:
    _, execution = run_once(_in_order("group"), setup=_count, record=True)
    kinds = [(step.kind, step.subject) for step in execution.steps if step.subject]
    assert ("spawn", "write#2") in kinds
    assert ("start", "write#2") in kinds
    assert ("end", "write#2") in kinds
    assert {actor.name for actor in execution.actors} == {"event loop", "participant", "write#2"}


# ---------------------------------------------------------------------- not under control


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: asyncio.open_connection("127.0.0.1", 9), "loop.create_connection()"),
        (lambda: asyncio.create_subprocess_exec("true"), "loop.subprocess_exec()"),
        (lambda: asyncio.get_running_loop().getaddrinfo("x", 1), "loop.getaddrinfo()"),
        (lambda: asyncio.start_server(print, "127.0.0.1", 0), "loop.create_server()"),
    ],
)
def test_that_real_input_and_output_is_refused_by_name(ask: Any, words: str) -> None:
    def calls(state: Any) -> list[Any]:
        async def participant() -> None:
            await ask()

        return [participant]

    _, execution = run_once(calls)
    assert isinstance(execution.ended[0].error, UncontrolledIO)
    assert words in execution.uncontrolled[0]
    assert "test_loop_runs.py:" in execution.uncontrolled[0]
    assert not execution.complaints


def test_that_faked_input_and_output_is_fine() -> None:
    httpx = pytest.importorskip("httpx")

    def calls(state: Any) -> list[Any]:
        async def answer(request: Any) -> Any:
            await asyncio.sleep(1)
            return httpx.Response(200, json={"path": request.url.path})

        async def participant() -> None:
            async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
                response = await client.get("http://service/items")
                state.log.append(response.json())

        return [participant]

    state, execution = run_once(calls, setup=_count)
    assert not execution.uncontrolled
    assert state.log == [{"path": "/items"}]


def test_that_a_run_repeats_itself() -> None:
    runs = [run_once(_mixed(_add), setup=_count, record=True)[1] for _ in range(3)]
    told = {tuple((s.actor, s.kind, s.source, s.subject) for s in run.steps) for run in runs}
    assert len(told) == 1
