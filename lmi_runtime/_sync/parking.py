"""
Waiting for one thing that another thread or task will do.

A waiter makes a parker where it waits, gives it away, and parks; whoever has what it waits for
unparks it, from any thread and any loop. What the wait was for is the owner's state, under the
owner's lock: a parker only wakes. So whoever stops waiting, for whatever reason, looks there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from lmi_runtime._sync.primitives import Lock

if TYPE_CHECKING:
    import asyncio

    import trio

__all__ = [
    "AsyncParker",
    "Home",
    "ThreadParker",
    "async_parker",
    "current_home",
    "is_alive",
    "running_loop",
]

_FOR_EVER_S = 1e9
"""From here on a time-out is none: locks take no infinite one, and timers cost something."""

Home = object
"""An event loop that runs: an asyncio loop, or the token of a trio run."""


class ThreadParker:
    """
    Parks a thread.

    Thread safety: `park` once, in one thread; `unpark` once, from any.
    """

    __slots__ = ("_gate",)

    home = None

    def __init__(self) -> None:
        self._gate = Lock()
        self._gate.acquire()

    def park(self, timeout_s: float | None = None) -> bool:
        """Wait for `unpark`; False when `timeout_s` seconds were not enough."""
        if timeout_s is None or timeout_s >= _FOR_EVER_S:
            return self._gate.acquire()
        return self._gate.acquire(timeout=timeout_s) if timeout_s > 0 else False

    def unpark(self) -> bool:
        """Wake the thread, now or as soon as it parks. Always True: a thread can be woken."""
        self._gate.release()
        return True


class AsyncParker(Protocol):
    """
    Parks a task.

    Thread safety: `park` once, in the task that made it; `unpark` once, from any thread.
    """

    @property
    def home(self) -> Home: ...

    async def park(self, timeout_s: float | None = None) -> bool:
        """Wait for `unpark`; False when `timeout_s` seconds were not enough. May be cancelled."""
        ...

    def unpark(self) -> bool:
        """Wake the task. False when its loop is closed, and nobody will ever be woken."""
        ...


class _AsyncioParker:
    __slots__ = ("_future", "home")

    home: asyncio.AbstractEventLoop

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.home = loop
        self._future: asyncio.Future[bool] = loop.create_future()  # loop thread only

    async def park(self, timeout_s: float | None = None) -> bool:
        if timeout_s is None or timeout_s >= _FOR_EVER_S:
            return await self._future
        timer = self.home.call_later(max(0.0, timeout_s), self._give_up)
        try:
            return await self._future
        finally:
            timer.cancel()

    def unpark(self) -> bool:
        if running_loop() is self.home:
            self._settle(True)
            return True
        try:
            self.home.call_soon_threadsafe(self._settle, True)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def _settle(self, woken: bool) -> None:
        if not self._future.done():
            self._future.set_result(woken)

    def _give_up(self) -> None:
        self._settle(False)

    # For a controlled loop: a wait that ends for lack of time, which is not a moment like others.
    _give_up.is_time_out = True  # type: ignore[attr-defined]


class _TrioParker:
    __slots__ = ("_event", "home")

    home: trio.lowlevel.TrioToken

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self.home = token
        self._event: trio.Event = _trio().Event()  # trio's thread only

    async def park(self, timeout_s: float | None = None) -> bool:
        seconds = float("inf") if timeout_s is None else max(0.0, timeout_s)
        with _trio().move_on_after(seconds):
            await self._event.wait()
        return self._event.is_set()

    def unpark(self) -> bool:
        try:
            self.home.run_sync_soon(self._event.set)
        except _trio().RunFinishedError:
            return False
        return True


_get_running_loop: Callable[[], asyncio.AbstractEventLoop | None] | None = None
"""asyncio's own, once somebody has imported it. Set to the same by whoever asks first."""


def running_loop() -> asyncio.AbstractEventLoop | None:
    """
    The asyncio loop that runs in this thread, or None.

    It does not import asyncio, which takes longer than all of this package does: where nobody
    has imported it, no loop of it runs.

    Thread safety: from any thread.
    """
    global _get_running_loop
    if _get_running_loop is None:
        # While another thread imports it the name may be missing still.
        _get_running_loop = getattr(sys.modules.get("asyncio"), "_get_running_loop", None)
        if _get_running_loop is None:
            return None
    return _get_running_loop()


def async_parker() -> AsyncParker:
    """
    A parker for the running task.

    Raises:
        RuntimeError: No event loop runs in this thread.
    """
    loop = running_loop()
    if loop is not None:
        return _AsyncioParker(loop)
    return _TrioParker(_trio().lowlevel.current_trio_token())


def current_home() -> Home | None:
    """The event loop that runs in this thread, or None."""
    loop = running_loop()
    if loop is not None:
        return loop
    trio_ = sys.modules.get("trio")
    if trio_ is None:
        return None
    try:
        token: Home = trio_.lowlevel.current_trio_token()
    except RuntimeError:
        return None
    return token


def is_alive(home: Home) -> bool:
    """Whether the loop `home` can still run something. Thread safety: from any thread."""
    is_closed = getattr(home, "is_closed", None)
    if is_closed is not None:  # a loop of asyncio; trio's tokens have no such method
        return not is_closed()
    token: Any = home
    try:
        token.run_sync_soon(_nothing, idempotent=True)
    except RuntimeError:  # trio's own kind of it: the run is over
        return False
    return True


def _nothing() -> None:
    pass


def _trio() -> Any:
    # Never imported from here: whoever runs on trio has imported it.
    try:
        return sys.modules["trio"]
    except KeyError:
        raise RuntimeError("No event loop is running in this thread.") from None
