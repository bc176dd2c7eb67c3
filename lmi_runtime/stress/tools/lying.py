"""A lock that lies."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from lmi_runtime import _sync

__all__ = ["LyingLock"]


class _Lockable(Protocol):
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...

    def release(self) -> None: ...


class LyingLock:
    """
    A lock that does what a test tells it to at the worst possible moment.

    Put in the place of a real one (``monkeypatch.setattr(pool, "_lock", LyingLock())``) it makes
    a race that takes a few instructions happen every time: let something else run between two
    sections, or have the lock say that it is taken when it is free. A callback runs in the
    thread that uses the lock; while it runs, the lock is an ordinary one.

    Args:
        lock: The real one; a `threading.Lock` by default.
        before_acquire: Called before the lock is waited for.
        after_acquire: Called with the lock held.
        before_release: Called with the lock held.
        after_release: Called when it is free again: the gap between two critical sections.
        times: How often each callback is called; after that it is not.

    Thread safety: any thread, as a lock is.
    """

    def __init__(
        self,
        lock: _Lockable | None = None,
        *,
        before_acquire: Callable[[], object] | None = None,
        after_acquire: Callable[[], object] | None = None,
        before_release: Callable[[], object] | None = None,
        after_release: Callable[[], object] | None = None,
        times: int = 1,
    ) -> None:
        self._real: _Lockable = lock if lock is not None else _sync.Lock()
        self._callbacks = {
            "before_acquire": before_acquire,
            "after_acquire": after_acquire,
            "before_release": before_release,
            "after_release": after_release,
        }
        self._script = _sync.Lock()
        self._left = dict.fromkeys(self._callbacks, times)  # guarded by _script
        self._says_taken = 0  # guarded by _script
        self._says_free = 0  # guarded by _script
        self._pretended: list[int] = []  # guarded by _script; threads that hold nothing
        self._calling = False  # guarded by _script

    def pretend_taken(self, times: int = 1) -> None:
        """
        Let so many of the next attempts that may fail, with a time-out or without waiting, fail.

        The lock is waited for, and given up again: what a thread sees whose time ran out at the
        moment in which it would have had the lock. Attempts that wait for ever are not lied to.
        """
        with self._script:
            self._says_taken += times

    def pretend_free(self, times: int = 1) -> None:
        """
        Let so many of the next attempts succeed at once, whoever has the lock.

        Shows what the lock is for: with it two are inside at once, as if it were missing.
        """
        with self._script:
            self._says_free += times

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `threading.Lock.acquire`, but for what it was told."""
        self._call("before_acquire")
        taken = self._pretends_to_give() or self._acquire_really(blocking, timeout)
        if taken:
            self._call("after_acquire")
        return taken

    def release(self) -> None:
        """As `threading.Lock.release`; what was never held is not released."""
        self._call("before_release")
        if not self._pretends_to_take_back():
            self._real.release()
        self._call("after_release")

    def locked(self) -> bool:
        """The truth."""
        if self._real.acquire(False):
            self._real.release()
            return False
        return True

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _acquire_really(self, blocking: bool, timeout: float) -> bool:
        if not self._real.acquire(blocking, timeout):
            return False
        if blocking and timeout < 0:
            return True
        with self._script:
            lies = self._says_taken > 0
            self._says_taken -= lies
        if lies:
            self._real.release()
        return not lies

    def _pretends_to_give(self) -> bool:
        with self._script:
            if not self._says_free:
                return False
            self._says_free -= 1
            self._pretended.append(_sync.current_thread_id())
            return True

    def _pretends_to_take_back(self) -> bool:
        me = _sync.current_thread_id()
        with self._script:
            if me not in self._pretended:
                return False
            self._pretended.remove(me)
            return True

    def _call(self, moment: str) -> None:
        callback = self._callbacks[moment]
        with self._script:
            if callback is None or self._calling or not self._left[moment]:
                return
            self._left[moment] -= 1
            self._calling = True
        try:
            callback()
        finally:
            with self._script:
                self._calling = False
