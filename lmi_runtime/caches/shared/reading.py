"""What can be given without loading, and how often which was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lmi_runtime import _sync
from lmi_runtime.caches.model import Policy
from lmi_runtime.caches.shared.codecs import Codec
from lmi_runtime.caches.shared.entries import Entries, Entry
from lmi_runtime.caches.shared.records import Kind, fresh_payload
from lmi_runtime.caches.shared.vault import Vault
from lmi_runtime.errors import LoadFailed

__all__ = ["MISSING", "Reading"]


class _Missing:
    """Stands for no value, where None may be one."""


MISSING: Final[Any] = _Missing()


class Reading:
    """
    Values out of a store.

    Args:
        vault: The store.
        entries: What is kept in it.
        codec: Reads values.
        policy: Until when a value may be given as what.
        rests: Whether loading a key failed a moment ago, so that it is not tried again yet.

    Thread safety: from any thread.
    """

    def __init__(
        self,
        vault: Vault,
        entries: Entries,
        codec: Codec,
        policy: Policy,
        rests: Callable[[bytes], bool],
    ) -> None:
        self._entries = entries
        self._rests = rests
        self._ahead = policy.refresh_ahead
        # What every hit needs.
        self._find, self._decode, self._now = vault.find, codec.decode, entries.now
        self.forget()

    def forget(self) -> None:
        """Count from nothing, as a child does after a fork."""
        self.hits = _sync.Counter()
        self.hits_stale = _sync.Counter()
        self.hits_on_error = _sync.Counter()
        self.hits_negative = _sync.Counter()
        self.misses = _sync.Counter()

    def look(self, plain: bytes) -> tuple[Any, Entry | None]:
        """The value in the plainest of cases; in all others what is there, if anything is."""
        found = self._find(plain)
        if found is None:
            return MISSING, None
        payload = fresh_payload(plain, found[1], self._ahead, self._now())
        if payload is None:
            return MISSING, self._entries.entry(plain, found)
        try:
            value = self._decode(payload)
        except Exception:
            # It is tried again, and then seen to.
            return MISSING, self._entries.entry(plain, found)
        self.hits.add()
        return value, None

    def fresh(self, plain: bytes, entry: Entry | None) -> Any:
        """The value of what was there, if it is one, and fresh."""
        value = MISSING
        if (
            entry is not None
            and entry.record.kind == Kind.VALUE
            and self._now() < entry.times.fresh_until
        ):
            value = self.decoded(plain, entry)
        (self.misses if value is MISSING else self.hits).add()
        return value

    def served(self, plain: bytes, entry: Entry | None) -> tuple[Any, bool]:
        """
        The value of what was there, if it can be given; and whether it should be refreshed.

        Raises:
            LoadFailed: It is known that loading fails.
        """
        now_s = self._now()
        counter = None if entry is None else self._counter_for(plain, entry, now_s)
        value = MISSING
        if entry is not None and counter is not None:
            value = self.decoded(plain, entry)
        if entry is None or counter is None or value is MISSING:
            self.misses.add()
            return MISSING, False
        counter.add()
        return value, now_s >= entry.times.refresh_at or counter is self.hits_stale

    def rescued(self, plain: bytes, entry: Entry | None) -> Any:
        """The value of what was there, if it can be given because loading takes too long."""
        if entry is None or self._now() >= entry.times.error_until:
            return MISSING
        value = self.decoded(plain, entry)
        if value is not MISSING:
            self.hits_on_error.add()
        return value

    def decoded(self, plain: bytes, entry: Entry) -> Any:
        """
        The value of an entry; it is removed if it cannot be read.

        Raises:
            LoadFailed: It says that loading fails.
        """
        try:
            return self._entries.value(entry.record)
        except LoadFailed:
            self.hits_negative.add()
            raise
        except Exception:
            # Written by other code than this; what cannot be read is as good as not there.
            self._entries.delete(plain)
            return MISSING

    def _counter_for(self, plain: bytes, entry: Entry, now_s: float) -> _sync.Counter | None:
        """As what an entry can be given; None: it must be loaded."""
        times = entry.times
        if now_s < times.fresh_until:
            return self.hits
        if now_s < times.stale_until:
            return self.hits_stale
        if now_s < times.error_until and self._rests(plain):
            return self.hits_on_error
        return None
