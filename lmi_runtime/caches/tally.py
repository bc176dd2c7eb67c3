"""What a cache counts, and noticing that the clocks do not agree."""

from __future__ import annotations

from typing import Any, Final

from lmi_runtime.caches.model import Clock

__all__ = ["CHECK_S", "Counts", "LeapWatch"]

CHECK_S: Final = 0.25
"""Seconds between two comparisons of the clocks."""
TOLERANCE_S: Final = 2.0
"""Seconds by which they may differ, besides a hundredth of the time since they were compared."""


class Counts:
    """What a cache counts, named as in `CacheStatistics`. Guarded by the cache's lock."""

    __slots__ = (  # noqa: RUF023 - as in `CacheStatistics`
        "hits",
        "hits_stale",
        "hits_on_error",
        "hits_negative",
        "misses",
        "loads",
        "load_failures",
        "load_s",
        "refreshes",
        "evictions",
        "expirations",
        "invalidations",
        "refused",
        "leaps",
    )

    def __init__(self) -> None:
        self.hits = 0  # those that took the lock, and those of entries that are gone
        self.hits_stale = 0
        self.hits_on_error = 0
        self.hits_negative = 0
        self.misses = 0
        self.loads = 0
        self.load_failures = 0
        self.load_s = 0.0
        self.refreshes = 0
        self.evictions = 0
        self.expirations = 0
        self.invalidations = 0
        self.refused = 0
        self.leaps = 0

    def facts(self) -> dict[str, Any]:
        """All of them by name."""
        return {name: getattr(self, name) for name in self.__slots__}


class LeapWatch:
    """
    Notices that time passed which the monotonic clock did not count.

    It stands still while a machine is suspended, and between a snapshot and its restore. The wall
    clock does not, so the two drift apart in one leap.

    Thread safety: under the cache's lock.
    """

    __slots__ = ("_clock", "_monotonic_s", "_now", "_wall_s")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now = clock.monotonic
        self._monotonic_s = clock.monotonic()
        self._wall_s = clock.wall()

    def leapt(self) -> bool:
        """Whether the clocks have parted since this was asked before."""
        before_s, wall_s, after_s = self._now(), self._clock.wall(), self._now()
        if after_s - before_s > CHECK_S:
            return False  # this thread stood still between the two: nothing can be said
        passed_s, wall_passed_s = after_s - self._monotonic_s, wall_s - self._wall_s
        self._monotonic_s, self._wall_s = after_s, wall_s
        return abs(wall_passed_s - passed_s) > TOLERANCE_S + passed_s / 100
