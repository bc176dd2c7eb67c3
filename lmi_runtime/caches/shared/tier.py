"""Records in a second level: what other environments have loaded."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from lmi_runtime.caches.model import Policy
from lmi_runtime.caches.second.guard import GuardedLevel
from lmi_runtime.caches.shared.records import Corrupt, Kind, Record, pack, times_of, unpack

if TYPE_CHECKING:
    from lmi_runtime.caches.second import SecondLevel

__all__ = ["Tier"]


class Tier:
    """
    A second level as a cache sees it: records, of which only fresh ones count.

    What has tags is not written there: an invalidation of a tag reaches this environment only.

    Thread safety: from any thread and any task.
    """

    def __init__(
        self, level: SecondLevel, name: str, policy: Policy, now: Callable[[], float]
    ) -> None:
        self.guard = GuardedLevel(level, name)
        self._name = name
        self._policy = policy
        self._now = now

    def read(self, key: bytes) -> Record | None:
        """A fresh record, if there is one."""
        return self._fresh(key, self.guard.get(self._at(key)))

    async def aread(self, key: bytes) -> Record | None:
        """The same for tasks."""
        return self._fresh(key, await self.guard.aget(self._at(key)))

    def write(self, key: bytes, record: Record, *, strict: bool = False) -> None:
        """Keep a record for as long as it is fresh."""
        if self._wanted(record):
            ttl_s = self._ttl_s(record)
            self.guard.set(self._at(key), pack(key, record), ttl_s, strict=strict)

    async def awrite(self, key: bytes, record: Record) -> None:
        """The same for tasks."""
        if self._wanted(record):
            await self.guard.aset(self._at(key), pack(key, record), self._ttl_s(record))

    def replace(self, key: bytes, record: Record) -> None:
        """Keep a record, or at least nothing older."""
        if self._wanted(record):
            self.write(key, record, strict=True)
        else:
            self.delete(key)

    async def areplace(self, key: bytes, record: Record) -> None:
        """The same for tasks."""
        await (self.awrite(key, record) if self._wanted(record) else self.adelete(key))

    def delete(self, key: bytes) -> None:
        """Forget what other environments would find."""
        self.guard.delete(self._at(key))

    async def adelete(self, key: bytes) -> None:
        """The same for tasks."""
        await self.guard.adelete(self._at(key))

    def _at(self, key: bytes) -> str:
        return f"{self._name}:{base64.urlsafe_b64encode(key).decode()}"

    def _fresh(self, key: bytes, data: bytes | None) -> Record | None:
        if data is None:
            return None
        try:
            record = unpack(key, data)
        except Corrupt:
            return None
        now_s = self._now()
        fresh = now_s < times_of(record, self._policy, now_s).fresh_until
        return record if fresh and self._wanted(record) else None

    def _wanted(self, record: Record) -> bool:
        return record.kind == Kind.VALUE and not record.tags

    def _ttl_s(self, record: Record) -> float | None:
        return None if record.fresh_until_s == math.inf else record.fresh_until_s - self._now()
