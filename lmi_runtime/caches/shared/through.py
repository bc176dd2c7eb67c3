"""A second level for caches that have none of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lmi_runtime import _sync
from lmi_runtime.caches.model import Loaded, Policy, unwrap
from lmi_runtime.caches.shared.codecs import Codec, CodecName, codec_of
from lmi_runtime.caches.shared.entries import spread
from lmi_runtime.caches.shared.keys import canonical_key
from lmi_runtime.caches.shared.records import Kind, Record
from lmi_runtime.caches.shared.tier import Tier

if TYPE_CHECKING:
    from lmi_runtime.caches.second import SecondLevel

__all__ = ["Through"]

V = TypeVar("V")


class Through(Generic[V]):
    """
    Makes loaders that ask a second level first, and tell it what they loaded.

        users = Cache(ttl_s=10)
        beyond = Through(ValkeyLevel(client), "users", ttl_s=600)
        user = users.get_or_load(number, beyond.loader(number, lambda: fetch(number)))

    So it is asked inside the flight, once for all who wait. What it has may be as old as its
    `ttl_s` when the cache begins to keep it. Failures fail no load; values with tags are not
    told to it, as the tags mean nothing there.

    Args:
        level: The second level.
        name: What its keys begin with: environments that give the same name share values.
        ttl_s: Seconds for which a value is fresh there; None: as long as it keeps it.
        jitter: Share of `ttl_s`, from 0 to 1, that at most is taken off at random.
        codec: How values are written; see `SharedCache`.
        now: Where the time is read, seconds since the epoch.

    Thread safety: from any thread and any task.
    """

    def __init__(
        self,
        level: SecondLevel,
        name: str,
        *,
        ttl_s: float | None = None,
        jitter: float = 0.0,
        codec: CodecName | Codec = "json",
        now: Callable[[], float] | None = None,
    ) -> None:
        self._policy = Policy(ttl_s=ttl_s, jitter=jitter)
        self._now = now or _sync.wall_time
        self._codec = codec_of(codec)
        self._tier = Tier(level, name, self._policy, self._now)

    def loader(self, key: object, load: Callable[[], V | Loaded[V]]) -> Callable[[], V | Loaded[V]]:
        """`load` for threads, with the second level asked first."""
        plain = canonical_key(key)

        def through() -> V | Loaded[V]:
            found = self._decoded(self._tier.read(plain))
            if found:
                return found[0]
            began_s = self._now()
            result = load()
            self._tier.write(plain, self._record(result, began_s))
            return result

        return through

    def aloader(
        self, key: object, load: Callable[[], Awaitable[V | Loaded[V]]]
    ) -> Callable[[], Awaitable[V | Loaded[V]]]:
        """`load` for tasks, with the second level asked first."""
        plain = canonical_key(key)

        async def through() -> V | Loaded[V]:
            found = self._decoded(await self._tier.aread(plain))
            if found:
                return found[0]
            began_s = self._now()
            result = await load()
            await self._tier.awrite(plain, self._record(result, began_s))
            return result

        return through

    def forget(self, key: object) -> None:
        """Remove a value from the second level; the cache in front has to be told as well."""
        self._tier.delete(canonical_key(key))

    def _decoded(self, record: Record | None) -> list[V]:
        if record is None:
            return []
        try:
            return [self._codec.decode(record.payload)]
        except Exception:
            return []  # written by other code than this

    def _record(self, result: Any, began_s: float) -> Record:
        outcome = unwrap(result, ttl_s=None, tags=(), weigh=None)
        times = self._policy.times(began_s, outcome.ttl_s, spread())
        tags = tuple(tag.encode() for tag in outcome.tags)
        payload = self._codec.encode(outcome.value)
        return Record(payload, began_s, times.fresh_until, Kind.VALUE, tags)
