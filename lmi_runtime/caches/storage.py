"""Where entries are kept: in a dictionary of ours, or in a mapping of the user's."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from operator import attrgetter
from typing import Any, Protocol

from lmi_runtime.caches.entries import Entry
from lmi_runtime.caches.sieve import Line

__all__ = ["Borrowed", "Shelf", "Storage", "Translated", "View"]


class View(Protocol):
    """Entries by key."""

    def __getitem__(self, key: Hashable, /) -> Entry:
        """
        The entry for `key`.

        Raises:
            KeyError: There is none.
        """
        ...


class Translated:
    """A view whose keys are translated."""

    def __init__(self, view: View, translate: Callable[[Hashable], Hashable]) -> None:
        self._view = view
        self._translate = translate

    def __getitem__(self, key: Hashable) -> Entry:
        return self._view[self._translate(key)]


class Storage(Protocol):
    """
    What a cache asks of where it keeps its entries.

    All is called under the cache's lock.
    """

    @property
    def view(self) -> View:
        """What finds an entry. Used without the lock, from any thread."""
        ...

    def find(self, key: Hashable) -> Entry | None:
        """The entry for a key, or None."""
        ...

    def put(self, entry: Entry, partition: Hashable, now_s: float) -> tuple[list[Entry], bool]:
        """
        Keep `entry` in place of another with its key.

        Returns:
            The entries that had to go, and whether `entry` was taken.
        """
        ...

    def swap(self, old: Entry, new: Entry) -> None:
        """Put `new` exactly where `old` is, which has the same key and weight."""
        ...

    def drop(self, key: Hashable) -> Entry | None:
        """Take the entry for `key` out, and return it."""
        ...

    def entries(self) -> list[Entry]:
        """All that are kept."""
        ...

    def __len__(self) -> int: ...

    @property
    def weight(self) -> float:
        """What all weigh together."""
        ...

    @property
    def partitions(self) -> int:
        """Partitions that hold something."""
        ...


class Shelf:
    """
    A dictionary, and a line for each partition that says which entry goes first.

    When all together are too many, the partition that puts one more gives up one of its own if
    it holds more than an equal share, else the one that holds most does: nobody who holds no
    more than an equal share loses anything to others.

    Args:
        max_size: Entries, at most; None: no limit.
        max_weight: Their weights, at most; None: no limit.
        quota: Entries of one partition, at most; None: no limit.
    """

    def __init__(
        self,
        max_size: int | None = None,
        max_weight: float | None = None,
        quota: int | None = None,
    ) -> None:
        self._max_size = max_size
        self._max_weight = max_weight
        self._quota = quota
        # Changed under the cache's lock; read without: each change is one atomic operation.
        self._entries: dict[Hashable, Entry] = {}
        self.view: View = self._entries
        self.find: Callable[[Hashable], Entry | None] = self._entries.get
        # All that follows is guarded by the cache's lock.
        self._lines: dict[Hashable, Line] = {}
        self._size = 0
        self._weight: float = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def weight(self) -> float:
        return self._weight

    @property
    def partitions(self) -> int:
        return len(self._lines)

    def put(self, entry: Entry, partition: Hashable, now_s: float) -> tuple[list[Entry], bool]:
        """See `Storage`. Readers see the old entry or the new one, and never none."""
        if self._max_weight is not None and entry.weight > self._max_weight:
            gone = self.drop(entry.key)
            return ([] if gone is None else [gone]), False
        out = []
        old = self._entries.get(entry.key)
        if old is not None:
            entry.use()  # a key that is set again is in use
            self._unlink(old)
            out.append(old)
        while (line := self._over(partition, entry)) is not None:
            out.append(self._evict(line, now_s))
        self._entries[entry.key] = entry
        line = self._lines.get(partition)
        if line is None:
            line = self._lines[partition] = Line(partition)
        line.add(entry)
        self._size += 1
        self._weight += entry.weight
        self._sweep(line, now_s, out)
        return out, True

    def swap(self, old: Entry, new: Entry) -> None:
        """See `Storage`."""
        new.mark = -1 if old.in_use else 0
        if old.line is not None:
            old.line.swap(old, new)
            self._entries[new.key] = new

    def drop(self, key: Hashable) -> Entry | None:
        """See `Storage`."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._unlink(entry)
        return entry

    def entries(self) -> list[Entry]:
        """See `Storage`."""
        return list(self._entries.values())

    def _over(self, partition: Hashable, entry: Entry) -> Line | None:
        """The line that has to give something up before `entry` fits in; None: none has to."""
        own = self._lines.get(partition)
        if own is not None and self._quota is not None and own.size >= self._quota:
            return own
        if self._max_size is not None and self._size >= self._max_size:
            return self._payer(own, attrgetter("size"), self._size, 1)
        if self._max_weight is not None and self._weight + entry.weight > self._max_weight:
            return self._payer(own, attrgetter("weight"), self._weight, entry.weight)
        return None

    def _payer(
        self, own: Line | None, measure: Callable[[Line], float], total: float, more: float
    ) -> Line | None:
        if own is not None and (measure(own) + more) * len(self._lines) >= total + more:
            return own
        return max(self._lines.values(), key=measure, default=None)

    def _evict(self, line: Line, now_s: float) -> Entry:
        entry = line.victim(now_s)
        self._entries.pop(entry.key)
        self._unlink(entry)
        return entry

    def _sweep(self, line: Line, now_s: float, out: list[Entry]) -> None:
        """Two of the oldest, if they are good for nothing: a cache in use forgets by itself."""
        for _ in range(2):
            oldest = line.oldest
            if oldest is None or oldest.times.gone_at > now_s:
                return
            self._entries.pop(oldest.key)
            self._unlink(oldest)
            out.append(oldest)

    def _unlink(self, entry: Entry) -> None:
        line = entry.line
        assert line is not None
        line.remove(entry)
        self._size -= 1
        self._weight = self._weight - entry.weight if self._size else 0
        if not line.size:
            del self._lines[line.partition]


class Borrowed:
    """
    A mapping of the user's, such as one of cachetools or cachebox, with limits of its own.

    It holds `Entry` objects; `weight_of` is a `getsizeof` for them. What it evicts it drops
    without telling. It is used under the cache's lock only, and by nobody else.

    Args:
        mapping: Has ``get``, ``pop``, ``keys``, ``clear``, assignment and a length.
        locked: Finds the entry for a key under the cache's lock.
    """

    partitions = 1

    def __init__(self, mapping: Any, locked: Callable[[Hashable], Entry | None]) -> None:
        self._mapping = mapping  # guarded by the cache's lock
        self._locked = locked
        self.view: View = self

    def __getitem__(self, key: Hashable) -> Entry:
        entry = self._locked(key)
        if entry is None:
            raise KeyError(key)
        return entry

    def find(self, key: Hashable) -> Entry | None:
        """See `Storage`."""
        entry: Entry | None = self._mapping.get(key)
        return entry

    def put(self, entry: Entry, partition: Hashable, now_s: float) -> tuple[list[Entry], bool]:
        """See `Storage`."""
        old = self.drop(entry.key)
        out = [] if old is None else [old]
        try:
            self._mapping[entry.key] = entry
        except (ValueError, OverflowError):  # too large for it
            return out, False
        return out, True

    def swap(self, old: Entry, new: Entry) -> None:
        """See `Storage`."""
        self._mapping[new.key] = new

    def drop(self, key: Hashable) -> Entry | None:
        """See `Storage`."""
        entry: Entry | None = self._mapping.pop(key, None)
        return entry

    def entries(self) -> list[Entry]:
        """See `Storage`."""
        found = [self._mapping.get(key) for key in list(self._mapping.keys())]
        return [entry for entry in found if entry is not None]

    def __len__(self) -> int:
        return len(self._mapping)

    @property
    def weight(self) -> float:
        return sum(entry.weight for entry in self.entries())
