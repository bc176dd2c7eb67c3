"""What is kept under a key: read with its age and tags looked at, written with its times."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from lmi_runtime.caches.model import Policy, Times
from lmi_runtime.caches.shared.codecs import Codec
from lmi_runtime.caches.shared.keys import key_slot, tag_name
from lmi_runtime.caches.shared.records import (
    Corrupt,
    Kind,
    Record,
    pack,
    times_of,
    unpack,
)
from lmi_runtime.caches.shared.store import Found, Moment, Session
from lmi_runtime.caches.shared.vault import Vault
from lmi_runtime.errors import LoadFailed

__all__ = ["Entries", "Entry", "failure_of", "spread"]

_START: Final = Moment(-1, -1)
"""Before anything: what is written as of then is not kept."""
_LONGEST_TEXT = 500


class Entry(NamedTuple):
    """A record, and until when it is good for what, by the wall clock."""

    record: Record
    times: Times


class Entries:
    """
    Records in a store.

    Thread safety: from any thread.
    """

    def __init__(
        self, vault: Vault, codec: Codec, policy: Policy, now: Callable[[], float]
    ) -> None:
        self._vault = vault
        self._codec = codec
        self._policy = policy
        self.now = now

    def read(self, key: bytes) -> Entry | None:
        """What is there, unless it was invalidated or is good for nothing any more."""
        found = self._vault.find(key)
        return None if found is None else self.entry(key, found)

    def entry(self, key: bytes, found: Found) -> Entry | None:
        """The same of what was found."""
        try:
            record = unpack(key, found[1])
        except Corrupt:
            self._vault.corrupt()
            return None
        now_s = self.now()
        times = times_of(record, self._policy, now_s)
        if now_s >= times.gone_at or (record.tags and self._invalidated(found, record)):
            return None
        return Entry(record, times)

    def value(self, record: Record) -> Any:
        """
        The value a record holds.

        Raises:
            LoadFailed: It says that there is none.
        """
        if record.kind == Kind.FAILURE:
            raise LoadFailed(record.payload.decode())
        return self._codec.decode(record.payload)

    def encode(self, value: Any) -> bytes:
        """The bytes of a value; raises what the codec raises."""
        return self._codec.encode(value)

    def moment(self, key: bytes) -> Moment:
        """When a load begins; what it loads is kept only if nobody said otherwise since."""
        return self._vault.use(lambda session: session.moment(key), _START)

    def record(
        self, payload: bytes, ttl_s: float | None, tags: Iterable[str], began_s: float | None = None
    ) -> Record:
        """A value loaded at `began_s`, by default now."""
        made_s = self.now() if began_s is None else began_s
        times = self._policy.times(made_s, ttl_s, spread())
        return Record(payload, made_s, times.fresh_until, Kind.VALUE, tuple(map(tag_name, tags)))

    def failure(self, error: Exception) -> Record:
        """A load that failed now."""
        now_s = self.now()
        return Record(
            failure_of(error).encode(), now_s, now_s + self._policy.negative_ttl_s, Kind.FAILURE
        )

    def keep(self, key: bytes, record: Record, since: Moment | None) -> bool:
        """Write a record; False if that could not be done, or is not wanted any more."""
        data = pack(key, record)
        names = (key_slot(key), *record.tags) if since is not None else ()
        return self._vault.use(
            lambda session: session.put(key, data, since=since, names=names), False
        )

    def overtaken(self, key: bytes, record: Record, since: Moment) -> bool:
        """Whether something was written, deleted or invalidated since, and counts for more."""
        names = (key_slot(key), *record.tags)

        def look(session: Session) -> bool:
            row = session.moment(key).row
            return row not in (0, since.row) or session.newest_mark(names) > since.seq

        return self._vault.use(look, False)

    def delete(self, key: bytes) -> bool:
        """Remove a record, whoever wrote it. False: there was none."""
        name = key_slot(key)
        return self._vault.use(lambda session: session.delete(key, name), False)

    def invalidate(self, tag: str) -> None:
        """Whatever has this tag is not there any more."""
        name = tag_name(tag)
        self._vault.use(lambda session: session.mark(name), None)

    def clear(self) -> None:
        """Nothing is there any more."""
        self._vault.use(lambda session: session.clear(), None)

    def _invalidated(self, found: Found, record: Record) -> bool:
        newest = self._vault.use(lambda session: session.newest_mark(record.tags), math.inf)
        return newest > found[0]


def spread() -> float:
    """A random number from 0 to 1; `random` takes longer to import than all caches together."""
    return int.from_bytes(os.urandom(2)) / 0xFFFF


def failure_of(error: Exception) -> str:
    """An error in words, for other processes."""
    return f"Loading failed: {type(error).__qualname__}: {error}"[:_LONGEST_TEXT]
