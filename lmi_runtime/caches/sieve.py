"""
Which value makes room: SIEVE.

A line of entries, the oldest first, and a hand that walks from old to new. A hit only marks its
entry. To make room the hand takes marks away until it comes to an entry without one: that one
goes, and the hand stays there. Values that were asked for once leave soon, values in use stay,
and a hit needs no lock, because it moves nothing. (Zhang et al., "SIEVE is simpler than LRU",
NSDI 2024.)
"""

from __future__ import annotations

from collections.abc import Hashable

from lmi_runtime.caches.entries import Entry

__all__ = ["Line"]


class Line:
    """
    The entries of one partition in the order in which they came.

    Thread safety: under the cache's lock.
    """

    __slots__ = ("_hand", "_newest", "_oldest", "partition", "size", "weight")

    def __init__(self, partition: Hashable = None) -> None:
        self.partition = partition
        self._oldest: Entry | None = None
        self._newest: Entry | None = None
        self._hand: Entry | None = None
        self.size = 0
        self.weight: float = 0

    @property
    def oldest(self) -> Entry | None:
        """The entry that came first."""
        return self._oldest

    def add(self, entry: Entry) -> None:
        """Put `entry` at the new end."""
        entry.line, entry.older, entry.newer = self, self._newest, None
        if self._newest is None:
            self._oldest = entry
        else:
            self._newest.newer = entry
        self._newest = entry
        self.size += 1
        self.weight += entry.weight

    def remove(self, entry: Entry) -> None:
        """Take `entry` out."""
        if self._hand is entry:
            self._hand = entry.newer
        if entry.older is None:
            self._oldest = entry.newer
        else:
            entry.older.newer = entry.newer
        if entry.newer is None:
            self._newest = entry.older
        else:
            entry.newer.older = entry.older
        entry.line = entry.older = entry.newer = None
        self.size -= 1
        self.weight = self.weight - entry.weight if self.size else 0

    def swap(self, old: Entry, new: Entry) -> None:
        """Put `new`, which weighs the same, where `old` is."""
        new.line, new.older, new.newer = self, old.older, old.newer
        if old.older is None:
            self._oldest = new
        else:
            old.older.newer = new
        if old.newer is None:
            self._newest = new
        else:
            old.newer.older = new
        if self._hand is old:
            self._hand = new
        old.line = old.older = old.newer = None

    def victim(self, now_s: float) -> Entry:
        """The entry of this line, which is not empty, that is to go; first what has expired."""
        entry = self._hand or self._oldest
        # Marks come back while the hand passes, as hits take no lock: once round is enough.
        for _ in range(self.size):
            assert entry is not None
            if not entry.in_use or entry.times.gone_at <= now_s:
                break
            entry.mark = entry.hits
            entry = entry.newer or self._oldest
        assert entry is not None
        self._hand = entry
        return entry
