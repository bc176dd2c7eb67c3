"""Tasks that belong to nobody who asked for them, and threads that tasks wait for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lmi_runtime._sync.parking import (
    AsyncParker,
    Home,
    ThreadParker,
    async_parker,
    current_home,
    running_loop,
)
from lmi_runtime._sync.threads import spawn

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "BackgroundTask",
    "bounded",
    "is_background",
    "limited",
    "offload",
    "shielded",
    "spawn_task",
    "spawn_task_on",
]

T = TypeVar("T")

_alive: set[asyncio.Task[None]] = set()
"""A loop holds its tasks weakly; each of these is kept until it ends. Set operations are atomic."""


class BackgroundTask:
    """
    A task that outlives whoever started it.

    Thread safety: from any thread.
    """

    __slots__ = ("_cancel", "home")

    def __init__(self, home: Home, cancel: Callable[[], object]) -> None:
        self.home = home
        self._cancel = cancel

    def cancel(self) -> None:
        """Ask the task to end; nothing happens when it, or its loop, has ended."""
        if current_home() is self.home:
            self._cancel()
            return
        _call_on(self.home, self._cancel)


def spawn_task(body: Callable[[], Awaitable[None]], *, name: str) -> BackgroundTask:
    """
    Run ``body()`` in a task of its own on the running loop, in an empty context.

    Its caller's cancellation, deadline and context are not the task's. `body` must not raise:
    nobody would hear it. It is cancelled when the loop ends.

    Raises:
        RuntimeError: No event loop runs in this thread.

    Thread safety: loop thread only.
    """
    loop = running_loop()
    if loop is None:
        return _spawn_trio(body, name)
    task = loop.create_task(_run(body), name=name, context=Context())
    _alive.add(task)
    task.add_done_callback(_alive.discard)
    return BackgroundTask(loop, task.cancel)


def is_background(task: asyncio.Task[Any]) -> bool:
    """Whether `spawn_task` started it: it may outlive whoever asked for it."""
    return task in _alive


def spawn_task_on(home: Home, body: Callable[[], Awaitable[None]], *, name: str) -> bool:
    """
    Like `spawn_task`, on the loop `home`, from any thread. False when that loop is closed.

    Thread safety: from any thread.
    """

    def spawn_there() -> None:
        # A run that ends may take calls still, but no tasks; raising there would break it.
        with contextlib.suppress(RuntimeError):
            spawn_task(body, name=name)

    return _call_on(home, spawn_there)


async def offload(function: Callable[[], T], timeout_s: float | None = None) -> T:
    """
    Run `function` in a thread of its own and wait for it.

    A cancellation that arrives meanwhile is not lost, and does not leave the thread behind: it is
    raised when the thread has ended.

    Raises:
        TimeoutError: It was not done within `timeout_s` seconds. The thread is left behind.
    """
    parker = async_parker()
    call = _Call(function, parker)
    if not await shielded(lambda: parker.park(timeout_s)):
        raise _late(function, timeout_s)
    return call.result()


def bounded(function: Callable[[], T], timeout_s: float) -> T:
    """
    Run `function` in a thread of its own and wait for it, as a thread, for so long at most.

    Raises:
        TimeoutError: It was not done within `timeout_s` seconds. The thread is left behind.
    """
    parker = ThreadParker()
    call = _Call(function, parker)
    if not parker.park(timeout_s):
        raise _late(function, timeout_s)
    return call.result()


class _Call(Generic[T]):
    """A call in a thread of its own. Thread safety: the result is read after the parker woke."""

    def __init__(self, function: Callable[[], T], parker: ThreadParker | AsyncParker) -> None:
        self._function = function
        self._parker = parker
        self._results: list[T] = []
        self._error: BaseException | None = None
        spawn(self._run, name=_name(function))

    def _run(self) -> None:
        try:
            self._results.append(self._function())
        except BaseException as error:
            self._error = error
        self._parker.unpark()

    def result(self) -> T:
        """What came of it; once."""
        error, self._error = self._error, None
        if error is None:
            return self._results.pop()
        try:
            raise error
        finally:
            # It holds the frames it goes through, and none of them may hold it.
            del error


def _late(function: Callable[[], object], timeout_s: float | None) -> TimeoutError:
    return TimeoutError(f"{_name(function)} was not done within {timeout_s:.3g} s")


def _name(function: Callable[[], object]) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


async def limited(body: Callable[[], Awaitable[T]], timeout_s: float) -> T:
    """
    Await ``body()`` for so long at most.

    Raises:
        TimeoutError: It took longer, and was cancelled.
    """
    # anyio's time-outs would do; its backend is only imported by who uses them, in tens of
    # milliseconds, and the first connection of a process is in a hurry.
    loop = running_loop()
    if loop is not None:
        from lmi_runtime._sync.on_asyncio import Limit

        async with Limit(loop.time() + timeout_s):
            return await body()
    with sys.modules["trio"].move_on_after(timeout_s):
        return await body()
    raise _late(body, timeout_s)


async def shielded(body: Callable[[], Awaitable[T]]) -> T:
    """Await ``body()`` to its end; a cancellation that arrives meanwhile is raised after it."""
    import anyio  # who only imports this module does not wait for it

    # A scope that is cancelled cancels again on every turn of asyncio's loop, unless shielded.
    with anyio.CancelScope(shield=True):
        loop = running_loop()
        result = await (body() if loop is None else _outlast(loop, body))
    return result


async def _outlast(loop: asyncio.AbstractEventLoop, body: Callable[[], Awaitable[T]]) -> T:
    from lmi_runtime._sync.on_asyncio import outlast

    return await outlast(loop.create_task(_run(body)))


async def _run(body: Callable[[], Awaitable[T]]) -> T:
    return await body()


def _spawn_trio(body: Callable[[], Awaitable[None]], name: str) -> BackgroundTask:
    trio = sys.modules.get("trio")
    if trio is None:
        raise RuntimeError("No event loop is running in this thread.")
    scope = trio.CancelScope()

    async def scoped() -> None:
        with scope:
            await body()

    home: Any = trio.lowlevel.current_trio_token()
    trio.lowlevel.spawn_system_task(scoped, name=name, context=Context())
    return BackgroundTask(home, scope.cancel)


def _call_on(home: Home, function: Callable[[], object]) -> bool:
    loop: Any = home
    soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    try:
        soon(function)
    except RuntimeError:  # both kinds of loop raise one when closed
        return False
    return True
