"""What this process has opened and has to close before it stops: pools and resources."""

from __future__ import annotations

import logging
import math
import os
import weakref
from collections.abc import Awaitable
from typing import Any, Protocol

from lmi_runtime import _sync
from lmi_runtime.pools.inherited import leave_to_parent

__all__ = [
    "Closable",
    "close_at_home",
    "close_everything",
    "close_from_thread",
    "forget",
    "register",
]

_log = logging.getLogger(__name__)


class Closable(Protocol):
    """
    Something that is closed when the process stops, if not before.

    It is compared by identity and can be referred to weakly.

    Thread safety: the properties, from any thread; `close_now`, see there.
    """

    @property
    def name(self) -> str:
        """What logs call it."""
        ...

    @property
    def home(self) -> _sync.Home | None:
        """The event loop that `close_now` has to run on. None: it may run anywhere."""
        ...

    def close_now(self, budget_s: float) -> Awaitable[None] | None:
        """
        Close it, within `budget_s` seconds; what it raises is logged.

        An `async def` runs in a task of its own on `home`, or on the loop of whoever closes
        everything, and is cancelled when time is up. A plain function runs in a thread of its
        own, where it may block, and is left behind when time is up; it must not have a `home`.

        Closing what is closed already does nothing.
        """
        ...


# In order of opening; the value keeps the key's referent alive, or is None. Without a lock: a
# finalizer may come in at any place, and each operation on a dict is atomic.
_opened = _sync.ProcessWide[dict[weakref.ref[Closable], Closable | None]](dict)


def register(closable: Closable, *, hold: bool = False) -> None:
    """
    Remember what was opened just now, so that `close_everything` closes it.

    Args:
        closable: Registered before, it counts as opened now.
        hold: Keep it alive until it is closed. By default it may go away whenever nobody else
            refers to it, and is forgotten then.

    Thread safety: from any thread; also from finalizers.
    """
    forget(closable)
    _opened()[weakref.ref(closable, _drop)] = closable if hold else None


def forget(closable: Closable) -> None:
    """
    Note that somebody else has closed it, or does so now.

    Thread safety: from any thread; also from finalizers.
    """
    _opened().pop(weakref.ref(closable), None)


async def close_everything(budget_s: float) -> None:
    """
    Close what was registered, opened last first, also what is opened meanwhile.

    Never raises for what a close does: failures are logged with the name, and the next one
    closes. So is what time did not allow for.

    Args:
        budget_s: Seconds for all together; each may use what is left of them.

    Thread safety: loop thread only.
    """
    until_s = _sync.monotonic() + budget_s
    while True:
        left_s = until_s - _sync.monotonic()
        if left_s <= 0:
            _tell_late()
            return
        latest = _take_latest()
        if latest is None:
            return
        await close_at_home(latest, left_s)


async def close_at_home(closable: Closable, budget_s: float) -> None:
    """
    Close one where it belongs: see `Closable.close_now`. Never raises for what the close does.

    Args:
        closable: What to close.
        budget_s: Seconds it may take, or infinity; what takes longer is logged and left.

    Thread safety: loop thread only, whichever loop that is.
    """
    parker = _sync.async_parker()
    closing = _Closing(closable, budget_s, parker)
    if closing.start(closable.home or parker.home):
        closing.tell(await parker.park(closing.patience_s))


def close_from_thread(closable: Closable, budget_s: float) -> None:
    """
    Like `close_at_home`, for a thread, and what has a home.

    Thread safety: from any thread that runs no event loop.
    """
    parker = _sync.ThreadParker()
    closing = _Closing(closable, budget_s, parker)
    if closing.start(closable.home):
        closing.tell(parker.park(closing.patience_s))


def _runs(home: _sync.Home) -> bool:
    loop: Any = home
    # An asyncio loop that was stopped, but not closed, would let us wait for nothing.
    return bool(loop.is_running()) if hasattr(loop, "is_running") else _sync.is_alive(home)


class _Closing:
    """
    One close, which runs by itself: neither a thread nor a task that hangs can be waited for.

    Thread safety: `done` is written before the parker wakes whoever reads it.
    """

    def __init__(
        self, closable: Closable, budget_s: float, parker: _sync.ThreadParker | _sync.AsyncParker
    ) -> None:
        self._closable = closable
        self._budget_s = budget_s
        self._parker = parker
        self.done = False

    @property
    def patience_s(self) -> float | None:
        """The task's own limit comes first, so that what is late has time to be cancelled."""
        return None if math.isinf(self._budget_s) else self._budget_s * 1.1 + 0.01

    def start(self, home: _sync.Home | None) -> bool:
        from inspect import iscoroutinefunction

        name = f"close {self._closable.name}"
        if self._closable.home is None and not iscoroutinefunction(self._closable.close_now):
            _sync.spawn(self._in_thread, name=name)
            return True
        if home is not None and _runs(home) and _sync.spawn_task_on(home, self._in_task, name=name):
            return True
        _log.warning("%s is left open: its event loop does not run", self._closable.name)
        return False

    def tell(self, woken: bool) -> None:
        if not (woken and self.done):
            _log.warning("%s did not close within %.3g s", self._closable.name, self._budget_s)

    def _in_thread(self) -> None:
        try:
            self._closable.close_now(self._budget_s)
        except BaseException:
            self._tell_failed()
        self.done = True
        self._parker.unpark()

    async def _in_task(self) -> None:
        from inspect import isawaitable

        import anyio

        try:
            with anyio.move_on_after(self._budget_s):
                closing = self._closable.close_now(self._budget_s)
                if isawaitable(closing):
                    await closing
                self.done = True
        except BaseException:
            self.done = True
            self._tell_failed()
        finally:
            self._parker.unpark()

    def _tell_failed(self) -> None:
        _log.exception("Closing %s failed", self._closable.name)


def _tell_late() -> None:
    # They stay registered, or dropping them now would finalize them on this thread.
    left = [
        closable for reference in reversed(list(_opened())) if (closable := reference()) is not None
    ]
    if left:
        names = ", ".join(closable.name for closable in left)
        _log.warning("There was no time left to close %s", names)


def _take_latest() -> Closable | None:
    opened = _opened()
    while opened:
        try:
            reference, _ = opened.popitem()
        except KeyError:  # a finalizer was faster
            return None
        if (closable := reference()) is not None:
            return closable
    return None


def _drop(reference: weakref.ref[Closable]) -> None:
    _opened().pop(reference, None)


def _forget_all_in_child() -> None:
    # What the parent opened is the parent's to close.
    if opened := _opened():
        leave_to_parent(opened)
    _opened.begin_anew()


os.register_at_fork(after_in_child=_forget_all_in_child)
