"""
Fifty requests at once, in threads or in tasks, that meet where a test says so.

A leak between requests shows only when one runs while another is in the middle. So `Crowd.meet`
holds everybody until all have come, as often as it is called: whatever one of them set before, all
others had their chance to overwrite.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, TypeVar

from lmi_runtime.context import Request, enter
from lmi_runtime.model import Invocation
from tests.support.patience import PATIENCE_S

__all__ = ["COUNT", "LambdaContext", "TaskCrowd", "ThreadCrowd"]

T = TypeVar("T")

COUNT = 50


class LambdaContext:
    """What AWS's own client gives to handlers, of one request."""

    function_name = "function"
    memory_limit_in_mb = 128
    function_version = "1"
    log_group_name = "group"
    log_stream_name = "stream"
    tenant_id = None

    def __init__(self, number: int) -> None:
        self.aws_request_id = f"request-{number}"
        self.invoked_function_arn = f"arn:aws:lambda:eu-west-1:123456789012:function:f{number}"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def request_of(number: int) -> Request:
    """Request number so and so, with its own trace and tenant; no id is zero, which is none."""
    return Request(
        Invocation(
            request_id=f"request-{number}",
            function_arn=f"arn:aws:lambda:eu-west-1:123456789012:function:f{number}",
            trace_id=f"Root=1-67891233-{number + 1:024x};Parent={number + 1:016x};Sampled=1",
            tenant_id=f"tenant-{number}",
        ),
    )


class ThreadCrowd:
    """Args: count: How many requests. bare: Without a request of ours, as under other runtimes."""

    def __init__(self, count: int = COUNT, *, bare: bool = False) -> None:
        self.count = count
        self._bare = bare
        self._barrier = threading.Barrier(count)

    def meet(self) -> None:
        """Wait until all have come here."""
        self._barrier.wait(PATIENCE_S)

    def serve(self, handle: Callable[[int], T]) -> list[T]:
        """Call ``handle(number)`` for each at once; what each returned, in order."""
        results: list[Any] = [None] * self.count
        threads = [
            threading.Thread(target=Context().run, args=(self._one, handle, number, results))
            for number in range(self.count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        for result in results:
            if isinstance(result, _Failed):
                raise result.error
        return results

    def _one(self, handle: Callable[[int], T], number: int, results: list[Any]) -> None:
        request = request_of(number)
        if not self._bare:
            enter(request)
        try:
            results[number] = handle(number)
        except BaseException as error:
            results[number] = _Failed(error)
            self._barrier.abort()
        finally:
            request.end()


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class TaskCrowd:
    """Args: count: How many requests. bare: Without a request of ours, as under other runtimes."""

    def __init__(self, count: int = COUNT, *, bare: bool = False) -> None:
        self.count = count
        self._bare = bare
        self._barrier = asyncio.Barrier(count)

    async def meet(self) -> None:
        """Wait until all have come here."""
        await self._barrier.wait()

    def serve(self, handle: Callable[[int], Awaitable[T]]) -> list[T]:
        """Await ``handle(number)`` for each at once; what each returned, in order."""
        return asyncio.run(asyncio.wait_for(self._all(handle), PATIENCE_S))

    async def _all(self, handle: Callable[[int], Awaitable[T]]) -> list[T]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._one(handle, number), context=Context())
                for number in range(self.count)
            ]
        return [task.result() for task in tasks]

    async def _one(self, handle: Callable[[int], Awaitable[T]], number: int) -> T:
        request = request_of(number)
        if not self._bare:
            enter(request)
        try:
            result = handle(number)
            return await result if inspect.isawaitable(result) else result
        finally:
            request.end()
