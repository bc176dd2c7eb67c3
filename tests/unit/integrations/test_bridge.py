"""Plain functions in threads, and what they have awaited by the task that waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from lmi_runtime.integrations.bridge import call_back, in_bridged_thread, way_back
from tests.support.patience import PATIENCE_S

variable: ContextVar[str] = ContextVar("variable", default="unset")

Run = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


@pytest.fixture(params=["asyncio", "trio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def run(body: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        if request.param == "uvloop":
            return anyio.run(body, backend="asyncio", backend_options={"use_uvloop": True})
        return anyio.run(body, backend=request.param)

    return run


async def turn() -> None:
    await anyio.lowlevel.checkpoint()


def test_what_is_called_back_runs_in_the_waiting_task(run: Run) -> None:
    async def back(value: int, *, more: int) -> Any:
        await turn()
        variable.set("by the callback")
        return value + more, threading.get_ident(), anyio.get_current_task().id

    def function() -> Any:
        assert threading.get_ident() != home
        assert variable.get() == "by the caller"
        variable.set("by the function")
        result = call_back(seeing, 1, more=2)
        assert variable.get() == "by the callback"
        variable.set("by the function, again")
        return result

    async def seeing(*args: int, more: int) -> Any:
        assert variable.get() == "by the function"
        await turn()
        assert variable.get() == "by the function"
        return await back(*args, more=more)

    async def main() -> None:
        variable.set("by the caller")
        task = anyio.get_current_task().id
        assert await in_bridged_thread(function) == (3, home, task)
        assert variable.get() == "by the function, again"
        with pytest.raises(RuntimeError, match="no task waits"):
            call_back(turn)

    home = threading.get_ident()
    run(main)


def test_what_it_starts_has_its_context(run: Run) -> None:
    async def child() -> str:
        await turn()
        return variable.get()

    async def back() -> list[str]:
        seen: list[str] = []

        async def note() -> None:
            seen.append(await child())

        async with anyio.create_task_group() as group:
            group.start_soon(note)
        return seen

    def function() -> Any:
        variable.set("by the function")
        return call_back(back)

    async def main() -> None:
        assert await in_bridged_thread(function) == ["by the function"]

    run(main)


def test_errors_go_both_ways(run: Run) -> None:
    async def back() -> None:
        await turn()
        raise LookupError("of the callback")

    def function() -> None:
        with pytest.raises(LookupError, match="of the callback"):
            call_back(back)
        raise ZeroDivisionError("of the function")

    async def main() -> None:
        with pytest.raises(ZeroDivisionError, match="of the function"):
            await in_bridged_thread(function)

    run(main)


def test_again_and_again_and_what_needs_no_awaiting(run: Run) -> None:
    async def back(number: int) -> int:
        await turn()
        return number

    def function() -> list[int]:
        return [call_back(back, each) for each in range(5)] + [call_back(int, "7")]

    async def main() -> None:
        assert await in_bridged_thread(function) == [0, 1, 2, 3, 4, 7]

    run(main)


def test_threads_that_were_started_with_its_context(run: Run) -> None:
    async def back(number: int) -> int:
        await turn()
        return number

    def function() -> list[int]:
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(copy_context().run, call_back, back, n) for n in range(8)]
            return [future.result() for future in futures]

    async def main() -> None:
        assert await in_bridged_thread(function) == list(range(8))

    run(main)


def test_scopes_of_the_caller_cancel(run: Run) -> None:
    log: list[str] = []

    async def back() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            log.append("callback")

    def function() -> None:
        try:
            call_back(back)
        finally:
            log.append("function")

    async def main() -> None:
        with anyio.move_on_after(0.01) as scope:
            await in_bridged_thread(function)
        assert scope.cancelled_caught
        assert log == ["callback", "function"]

    run(main)


@pytest.mark.parametrize("swallows", [False, True])
def test_tasks_that_are_cancelled(swallows: bool) -> None:
    log: list[str] = []

    async def main() -> None:
        started = asyncio.Event()

        async def back() -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                log.append("callback")

        def function() -> str:
            try:
                call_back(back)
            except asyncio.CancelledError:
                if not swallows:
                    raise
                with pytest.raises(asyncio.CancelledError):
                    call_back(back)
            finally:
                log.append("function")
            return "nobody gets this"

        task = asyncio.ensure_future(in_bridged_thread(function))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["callback", "function"]

    asyncio.run(main())


def test_cancelled_while_the_function_is_busy() -> None:
    log: list[str] = []

    async def main() -> None:
        running, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        async def back() -> None:
            log.append("callback")

        def function() -> None:
            loop.call_soon_threadsafe(running.set)
            go_on.wait(PATIENCE_S)
            try:
                call_back(back)
            finally:
                log.append("function")

        task = asyncio.ensure_future(in_bridged_thread(function))
        await running.wait()
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["function"]

    asyncio.run(main())


def test_time_outs_of_asyncio() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await in_bridged_thread(lambda: call_back(asyncio.Event().wait))

    asyncio.run(main())


def test_nobody_waits() -> None:
    with pytest.raises(RuntimeError, match="no task waits"):
        call_back(turn)


def test_it_is_refused_where_it_would_wait_for_itself(run: Run) -> None:
    async def back() -> None:
        with pytest.raises(RuntimeError, match="await the function"):
            call_back(turn)

    run(lambda: in_bridged_thread(call_back, back))


def test_a_thread_of_another_context_can_be_given_the_way_back(run: Run) -> None:
    async def answer() -> str:
        await turn()
        return "answer"

    def function() -> str:
        back = way_back()
        with ThreadPoolExecutor(1) as pool:
            return str(pool.submit(back, answer).result(20))

    assert run(lambda: in_bridged_thread(function)) == "answer"


def test_nobody_waits_any_more() -> None:
    contexts = []

    async def main() -> None:
        await in_bridged_thread(lambda: contexts.append(copy_context()))

    asyncio.run(main())
    with pytest.raises(RuntimeError, match="not there any more"):
        contexts[0].run(call_back, turn)


def test_tasks_that_are_given_up_leave_no_thread_waiting() -> None:
    ended = threading.Event()
    started: list[bool] = []

    class Never:
        """Is never done."""

        def __await__(self) -> Any:
            started.append(True)
            yield

    async def back() -> None:
        await Never()

    def function() -> None:
        try:
            call_back(back)
        except RuntimeError:
            ended.set()

    async def main() -> None:
        crossing = in_bridged_thread(function)
        steps = crossing.__await__()
        while not started:
            # The task waits for what the coroutine waits for, as if it awaited it.
            await _Once(next(steps))
        steps.close()

    asyncio.run(main())
    assert ended.wait(PATIENCE_S)


class _Once:
    def __init__(self, waits_for: Any) -> None:
        self._waits_for = waits_for

    def __await__(self) -> Any:
        yield self._waits_for
