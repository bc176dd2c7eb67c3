"""What a cache counts, and noticing that the clocks do not agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lmi_runtime.caches.model import Clock

__all__ = ["CHECK_S", "Counts", "LeapWatch"]

CHECK_S: Final = 0.25
"""Seconds between two comparisons of the clocks."""
TOLERANCE_S: Final = 2.0
"""Seconds by which they may differ, besides a hundredth of the time since they were compared."""


@dataclass(slots=True)
class Counts:
    """What a cache counts, named as in `CacheStatistics`. Guarded by the cache's lock."""

    hits: int = 0  # those that took the lock, and those of entries that are gone
    hits_stale: int = 0
    hits_on_error: int = 0
    hits_negative: int = 0
    misses: int = 0
    loads: int = 0
    load_failures: int = 0
    load_s: float = 0.0
    refreshes: int = 0
    evictions: int = 0
    expirations: int = 0
    invalidations: int = 0
    refused: int = 0
    leaps: int = 0


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
