"""What decorators need around calls: is it async, whose request is it, and how to leave a loop."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any

import anyio
import pytest

from lmi_runtime.context import current, enter, peek
from lmi_runtime.integrations.calls import in_thread, is_async, request_for
from tests.support.crowd import LambdaContext, request_of

variable: ContextVar[str] = ContextVar("variable", default="unset")


async def coroutine(event: object, context: object) -> None: ...


def function(event: object, context: object) -> None: ...


class Callable_:
    async def __call__(self, event: object, context: object) -> None: ...


@functools.wraps(coroutine)
def behind_a_decorator(event: object, context: object) -> Any:
    return coroutine(event, context)


@pytest.mark.parametrize(
    "candidate",
    [coroutine, behind_a_decorator, functools.partial(coroutine, None), Callable_()],
)
def test_async_whatever_lies_on_top(candidate: Callable[..., Any]) -> None:
    assert is_async(candidate)


@pytest.mark.parametrize(
    "candidate", [function, functools.partial(function, None), Callable_, print]
)
def test_not_async(candidate: Callable[..., Any]) -> None:
    assert not is_async(candidate)


class TestRequestFor:
    def test_a_generator_that_is_closed_elsewhere_ends_its_request(self) -> None:
        def parts() -> Any:
            with request_for(LambdaContext(2)) as request:
                yield request

        generator = parts()
        request = Context().run(next, generator)
        generator.close()

        assert request.ended

    def test_the_request_that_is_there_is_used(self) -> None:
        def body() -> None:
            request = request_of(1)
            enter(request)
            with request_for(LambdaContext(2)) as found:
                assert found is request is current()
            assert not request.ended

        Context().run(body)

    def test_where_there_is_none_one_is_made_and_ended(self) -> None:
        with request_for(LambdaContext(3)) as request:
            assert current() is request
            assert request.request_id == "request-3"
            assert 59 < request.remaining_s() <= 60
            with request_for(LambdaContext(4)) as inner:
                assert inner is request
        assert request.ended
        assert peek() is None

    def test_one_that_was_answered_is_not_used_again(self) -> None:
        def body() -> None:
            ended = request_of(1)
            enter(ended)
            ended.end()
            with request_for(LambdaContext(2)) as request:
                assert request.request_id == "request-2"
            assert peek() is ended

        Context().run(body)

    def test_it_ends_when_the_block_raises(self) -> None:
        with pytest.raises(ZeroDivisionError), request_for(LambdaContext(3)) as request:
            raise ZeroDivisionError
        assert request.ended
        assert peek() is None

    def test_a_context_that_says_nothing_will_do(self) -> None:
        with request_for(object()) as request:
            assert request.request_id == ""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
class TestInThread:
    def test_it_has_the_callers_context(self, backend: str) -> None:
        def blocking(text: str) -> str:
            before = variable.get()
            variable.set("set in the thread")
            return f"{text} {before}"

        async def main() -> str:
            variable.set("set by the task")
            result = await in_thread(blocking, "then")
            assert variable.get() == "set by the task"
            return result

        assert anyio.run(main, backend=backend) == "then set by the task"

    def test_threads_do_not_run_out(self, backend: str) -> None:
        """More at once than any executor has by default, each waiting for all others."""
        everybody = threading.Barrier(60)

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                for _ in range(60):
                    tasks.start_soon(in_thread, everybody.wait, 20)

        anyio.run(main, backend=backend)
        assert not everybody.broken

    def test_errors_come_back(self, backend: str) -> None:
        def fail() -> None:
            raise ZeroDivisionError("in the thread")

        async def main() -> None:
            with pytest.raises(ZeroDivisionError, match="in the thread"):
                await in_thread(fail)

        anyio.run(main, backend=backend)
