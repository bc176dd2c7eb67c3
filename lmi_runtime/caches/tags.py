"""Which keys have a tag."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from lmi_runtime.caches.entries import Entry

__all__ = ["TagIndex"]


class TagIndex:
    """
    Keys by tag.

    It may know keys that are gone, where the storage drops entries without a word: who asks has
    to look whether an entry is there and has the tag.

    Thread safety: under the cache's lock.
    """

    __slots__ = ("_count", "_keys")

    def __init__(self) -> None:
        self._keys: dict[str, dict[Hashable, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, entry: Entry) -> None:
        """Note the tags of `entry`."""
        for tag in entry.tags:
            keys = self._keys.setdefault(tag, {})
            self._count += entry.key not in keys
            keys[entry.key] = None

    def discard(self, entry: Entry) -> None:
        """Forget the tags of `entry`."""
        for tag in entry.tags:
            keys = self._keys.get(tag)
            if keys is not None and entry.key in keys:
                del keys[entry.key]
                self._count -= 1
                if not keys:
                    del self._keys[tag]

    def keys(self, tag: str) -> list[Hashable]:
        """Keys that may have `tag`."""
        return list(self._keys.get(tag, ()))

    def rebuild(self, entries: Iterable[Entry]) -> None:
        """Know the tags of these and no others."""
        self._keys, self._count = {}, 0
        for entry in entries:
            self.add(entry)
