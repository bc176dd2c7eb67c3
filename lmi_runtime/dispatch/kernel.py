"""
What dispatch needs of an event loop beyond anyio: tasks in a chosen context, edge cancellation.

anyio's task groups copy the caller's context, and its cancel scopes cancel again at every await.
A handler written for asyncio expects `Task.cancel()` once, so that the clean-up in its
``finally`` can await; a trio handler expects a scope. Hence one small seam and two kernels.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol, TypeVar

import anyio
import anyio.abc
import anyio.lowlevel

from lmi_runtime.dispatch.slots import Slot

__all__ = ["AnyioKernel", "AsyncioKernel", "Kernel", "current_kernel"]

T = TypeVar("T")
Step = Callable[[Slot], Coroutine[Any, Any, None]]


class Kernel(Protocol):
    """Thread safety: loop thread only, but for `call_soon_threadsafe`."""

    def start(self, context: Context, step: Step, slot: Slot) -> None:
        """Start `step(slot)` as a task whose context is `context`."""
        ...

    async def run(self, slot: Slot, code: Coroutine[Any, Any, T]) -> T | None:
        """Await `code` so that `slot.cancel()` ends it; None when a cancellation ended it."""
        ...

    async def turn(self) -> None:
        """Return when every task that could run at the time of the call has had a turn."""
        ...

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> None:
        """Run `callback` on the loop thread soon; callable from any thread."""
        ...


class AsyncioKernel:
    """asyncio and uvloop: `Task.cancel()`, once."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._create_task = loop.create_task
        self.call_soon_threadsafe: Callable[..., Any] = loop.call_soon_threadsafe

    def start(self, context: Context, step: Step, slot: Slot) -> None:
        """See `Kernel.start`."""
        slot.task = self._create_task(step(slot), context=context)

    async def run(self, slot: Slot, code: Coroutine[Any, Any, T]) -> T | None:
        """See `Kernel.run`."""
        task = asyncio.current_task()
        assert task is not None
        slot.canceller = task.cancel
        try:
            return await code
        except asyncio.CancelledError:
            return None
        finally:
            slot.canceller = None
            # A cancellation must not outlive the code it was meant for and hit the posting of
            # its answer, whether the code gave in to it, swallowed it, or cancelled itself.
            if task.cancelling():
                while task.uncancel():
                    pass
                # Code that cancels itself and returns leaves a cancellation to be delivered,
                # which `uncancel` takes back only from Python 3.13 on.
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)

    async def turn(self) -> None:
        """See `Kernel.turn`."""
        await asyncio.sleep(0)


class AnyioKernel:
    """Any backend of anyio, used for trio: a cancel scope around the code."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self._tasks = tasks
        self._token: Any = anyio.lowlevel.current_token().native_token

    def start(self, context: Context, step: Step, slot: Slot) -> None:
        """See `Kernel.start`."""
        # start_soon copies the context it is called in, which makes this one the task's own.
        context.run(self._tasks.start_soon, step, slot)

    async def run(self, slot: Slot, code: Coroutine[Any, Any, T]) -> T | None:
        """See `Kernel.run`."""
        with anyio.CancelScope() as scope:
            slot.canceller = scope.cancel
            try:
                return await code
            finally:
                slot.canceller = None
        return None

    async def turn(self) -> None:
        """See `Kernel.turn`."""
        # Trio runs what is ready in random order: only after the second checkpoint has
        # everything run that was ready before the first.
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> None:
        """See `Kernel.call_soon_threadsafe`."""
        self._token.run_sync_soon(callback, *args)


def current_kernel(tasks: anyio.abc.TaskGroup) -> Kernel:
    """The kernel for the event loop that runs in this thread."""
    try:
        return AsyncioKernel()
    except RuntimeError:  # no asyncio loop runs here
        return AnyioKernel(tasks)
