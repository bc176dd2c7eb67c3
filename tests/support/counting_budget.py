"""A budget of connections within one test, that can be looked at."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lmi_runtime.pools import Permit
from tests.support.patience import PATIENCE_S

__all__ = ["CountingBudget"]


class CountingBudget:
    """
    A number of permits. Who waits for one keeps asking.

    Thread safety: from any thread.
    """

    def __init__(self, size: int = 1000) -> None:
        self.size = size
        self.taken = 0  # guarded by _lock
        self._lock = threading.Condition()

    def try_acquire(self) -> Permit | None:
        with self._lock:
            if self.taken >= self.size:
                return None
            self.taken += 1
        return self

    def acquire(self, give_up: Callable[[], bool], owner: object = None) -> Permit | None:
        while (permit := self.try_acquire()) is None and not give_up():
            with self._lock:
                self._lock.wait(0.01)
        return permit

    def others_wait(self, owner: object = None) -> bool:
        return False

    def release(self) -> None:
        """A permit's; each is released once by whoever is tested."""
        with self._lock:
            self.taken -= 1
            self._lock.notify_all()

    def wait_taken(self, count: int) -> None:
        """Wait until so many permits are taken."""
        with self._lock:
            assert self._lock.wait_for(lambda: self.taken == count, PATIENCE_S), self.taken
