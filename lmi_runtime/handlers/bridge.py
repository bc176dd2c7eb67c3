"""The one event loop on which `async def` handlers run when a synchronous runtime calls them."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from lmi_runtime._sync import Event, Lock, Thread, spawn

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

__all__ = ["run_on_loop"]

T = TypeVar("T")

_EXIT_PATIENCE_S = 1.0


def run_on_loop(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """
    Await ``call()`` on this process's persistent loop and return what it returns.

    The loop lives in a daemon thread from the first call on, so clients and pools that were
    opened on it stay usable from one invocation to the next. ``LMI_BACKEND`` chooses trio.

    Raises:
        RuntimeError: Called on that loop itself, which would wait for itself for ever.
        BaseException: Whatever `call` raised.

    Thread safety: from any thread but the loop's own; calls run concurrently.
    """
    future = _running_loop().start_task_soon(_boxed, call)
    try:
        value, error = future.result()
    except BaseException:
        # The caller was interrupted; nobody waits for the task any more.
        future.cancel()
        raise
    if error is not None:
        raise error
    return value  # type: ignore[no-any-return]


async def _boxed(call: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, BaseException | None]:
    """Keep what user code raises away from the loop: a SystemExit would end it."""
    import anyio

    try:
        return await call(), None
    except anyio.get_cancelled_exc_class() as exc:
        if anyio.current_effective_deadline() == float("-inf"):
            raise  # the caller was interrupted, see above
        # A BaseException of its own kind would end the synchronous runtime that called.
        from concurrent.futures import CancelledError

        return None, CancelledError(str(exc) or "The handler was cancelled.")
    except BaseException as exc:
        return None, exc


class _Loop:
    """A daemon thread with an event loop, for as long as the process lives."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._started = Event()
        self._portal: BlockingPortal | None = None  # set once, before _started
        self._error: BaseException | None = None  # set once, before _started
        self.thread: Thread = spawn(self._run, name="lmi-handler-loop")

    def portal(self) -> BlockingPortal:
        self._started.wait()
        if self._portal is None:
            raise RuntimeError(f"The {self._backend} event loop did not start.") from self._error
        return self._portal

    def stop(self) -> None:
        """Cancel what runs and wait a moment for the thread; it may have ended by itself."""
        if self._portal is not None:
            with contextlib.suppress(RuntimeError):
                self._portal.start_task_soon(self._portal.stop, True)
        self.thread.join(_EXIT_PATIENCE_S)

    def _run(self) -> None:
        import anyio

        try:
            anyio.run(self._serve, backend=self._backend)
        except BaseException as exc:
            self._error = exc
        finally:
            self._started.set()

    async def _serve(self) -> None:
        from anyio.from_thread import BlockingPortal

        async with BlockingPortal() as portal:
            self._portal = portal
            self._started.set()
            await portal.sleep_until_stopped()


_lock = Lock()
_loop: _Loop | None = None  # guarded by _lock


def _running_loop() -> BlockingPortal:
    global _loop
    with _lock:
        if _loop is None or not _loop.thread.is_alive():
            _loop = _Loop(os.environ.get("LMI_BACKEND") or "asyncio")
        loop = _loop
    return loop.portal()


def _forget_in_child() -> None:
    # Threads do not survive a fork: neither the loop's nor whoever held the lock.
    global _lock, _loop
    _lock = Lock()
    _loop = None


def _stop_at_exit() -> None:
    with _lock:
        loop = _loop
    if loop is not None:
        loop.stop()


os.register_at_fork(after_in_child=_forget_in_child)
atexit.register(_stop_at_exit)
