"""A lock that is held for steps in which no code of a user should run, but may."""

from __future__ import annotations

from typing import Any

from lmi_runtime import _sync

__all__ = ["Exclusive"]


class Exclusive:
    """
    A lock that refuses its holder instead of waiting for ever.

    Python finalizes garbage in the middle of any step, and a mapping compares keys by their own
    ``__eq__``. Where such code asks a cache for something while its thread is in a step of that
    same cache, to wait would be to hang, and to go on would be to find it half changed.

    Thread safety: from any thread.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock: Any = _sync.RLock()  # knows who holds it, and is never taken twice

    def __enter__(self) -> None:
        if self._lock._is_owned():
            raise RuntimeError(
                "This cache was asked for something from within one of its own steps: by a "
                "finalizer, or by a key that uses the cache to compare itself."
            )
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def acquire(self, timeout_s: float) -> bool:
        """Take it for longer than a block; False if it is not to be had in time."""
        return not self._lock._is_owned() and self._lock.acquire(timeout=timeout_s)

    def release(self) -> None:
        """Give back what `acquire` took."""
        self._lock.release()
