"""A counter that loses no update."""

from __future__ import annotations

from lmi_runtime._sync.primitives import Lock

__all__ = ["Counter"]


class Counter:
    """
    A whole number that threads add to.

    ``+=`` on an attribute is a read and a write with a switch point between; updates get lost
    even under the GIL. Here they do not.

    Thread safety: every method, from any thread.
    """

    __slots__ = ("_lock", "_value")

    def __init__(self) -> None:
        self._lock = Lock()
        self._value = 0  # guarded by _lock

    def add(self, amount: int = 1) -> int:
        """Add `amount` and return the new value."""
        with self._lock:
            self._value += amount
            return self._value

    @property
    def value(self) -> int:
        """The value now."""
        with self._lock:
            return self._value
