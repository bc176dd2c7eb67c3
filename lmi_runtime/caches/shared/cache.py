"""A cache that all worker processes of an environment share."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from lmi_runtime import _sync, context
from lmi_runtime.caches.exclusive import Exclusive
from lmi_runtime.caches.flights import Ask, Flight, Flights, Waiter
from lmi_runtime.caches.forks import follow
from lmi_runtime.caches.model import (
    AsyncLoader,
    Clock,
    Loader,
    Outcome,
    Policy,
)
from lmi_runtime.caches.shared.codecs import Codec, CodecName, codec_of
from lmi_runtime.caches.shared.entries import Entries, Entry
from lmi_runtime.caches.shared.keys import canonical_key
from lmi_runtime.caches.shared.loading import Late, Loading, Task, flight_tags
from lmi_runtime.caches.shared.reading import MISSING, Reading
from lmi_runtime.caches.shared.records import Record
from lmi_runtime.caches.shared.statistics import SharedCacheStatistics
from lmi_runtime.caches.shared.store import StoreUsage
from lmi_runtime.caches.shared.stores import StoreName, vault_of
from lmi_runtime.errors import LoadTimeout

if TYPE_CHECKING:
    from lmi_runtime.caches.second import SecondLevel
    from lmi_runtime.caches.shared.tier import Tier

__all__ = ["SharedCache"]

V = TypeVar("V")
D = TypeVar("D")

_MIB = 1 << 20


class SharedCache(Generic[V]):
    """
    Values that every worker process of an environment finds, whichever of them loaded them.

    A key that is missing is loaded once, however many threads, tasks and processes ask for it;
    if the process that loads it dies, another one begins within 50 ms. Values are kept as JSON,
    msgpack or bytes in a file of a private directory, never pickled: what comes back from a
    load has been encoded and decoded, too, so that a hit and a miss give the same.

    The store never fails a request. If it is broken it is set aside and a new one is begun, in
    all processes; if the disk is full or the directory cannot be used, values are loaded by each
    process as if nothing had been kept. Each is logged once, and counted. A value that could not
    be replaced or removed for such a reason stays until it expires.

    As in `Cache`: expiry with jitter, stale values while one is refreshed or when loading fails,
    refresh ahead, tags, and invalidation during a load, which wins. Not as in `Cache`: the limit
    is in bytes of the file; the oldest entries go first, used or not (exactly so with SQLite,
    roughly with LMDB); a failure that was kept is raised as `LoadFailed`, whatever it had been;
    there are no partitions (make the tenant a part of the key), and every caller has a copy.

    Args:
        name: Which cache. Processes of one function that give the same name share it, and should
            give all the rest alike.
        store: ``sqlite``; ``lmdb``, which is faster and needs ``lmi_runtime[lmdb]``; ``auto`` is
            LMDB where it is installed. LMDB trusts its file: garbage in the midst of it can end a
            process, where SQLite begins a new one.
        max_bytes: Limit of the file, in bytes; 1 MiB at least. SQLite's log beside it takes 4 MiB
            more, mostly. Of the file SQLite uses nearly all for values, and LMDB about two fifths.
            A value larger than a tenth of it is not kept.
        ttl_s: Seconds for which a value is fresh; None: until it is evicted.
        jitter: Share of each `ttl_s`, from 0 to 1, that at most is taken off at random.
        stale_s: Seconds after its expiry for which a value is served while it is refreshed.
        refresh_ahead: Share of `ttl_s` after which a hit has the value refreshed.
        stale_if_error_s: Seconds after its expiry for which it is served if loading fails.
        negative_ttl_s: Seconds for which a failed load is kept.
        negative_errors: Which exceptions that goes for.
        timeout_s: Seconds that a caller waits for a load, at most; its request's deadline counts
            anyway.
        patience_s: Seconds to wait for a load of another process before loading here as well.
        codec: ``json``, ``msgpack`` (needs ``lmi_runtime[msgpack]``), ``bytes``, or a `Codec`.
        directory: Where to keep it; by default under the temporary directory, apart for each
            function. It must be on a file system of this machine.
        l2: Asked before a value is loaded, and told what was; see `ValkeyLevel` and
            `DynamoDBLevel`. Values with tags are not told to it.
        clock: Where the time is read; expiry goes by its wall clock, which processes share.

    Raises:
        ConfigurationError: An argument is out of its range.
        ImportError: ``lmdb`` or ``msgpack`` is asked for and not installed.

    Thread safety: everything, from any thread, task, loop, and process; also across a fork.
    """

    def __init__(
        self,
        name: str = "cache",
        *,
        store: Literal["auto"] | StoreName = "auto",
        max_bytes: int = 64 * _MIB,
        ttl_s: float | None = None,
        jitter: float = 0.0,
        stale_s: float = 0.0,
        refresh_ahead: float | None = None,
        stale_if_error_s: float = 0.0,
        negative_ttl_s: float = 0.0,
        negative_errors: tuple[type[Exception], ...] = (Exception,),
        timeout_s: float | None = None,
        patience_s: float = 30.0,
        codec: CodecName | Codec = "json",
        directory: str | os.PathLike[str] | None = None,
        l2: SecondLevel | None = None,
        clock: Clock | None = None,
    ) -> None:
        policy = Policy(
            ttl_s=ttl_s,
            jitter=jitter,
            stale_s=stale_s,
            refresh_ahead=refresh_ahead,
            stale_if_error_s=stale_if_error_s,
            negative_ttl_s=negative_ttl_s,
            negative_errors=negative_errors,
            timeout_s=timeout_s,
        )
        self.name = name
        self._policy = policy
        self._max_bytes = max_bytes
        self._vault, self._store = vault_of(name, store, directory, max_bytes)
        now = _sync.wall_time if clock is None else clock.wall
        encoding = codec_of(codec)
        self._entries = Entries(self._vault, encoding, policy, now)
        self._tier = None if l2 is None else _tier_of(l2, name, policy, now)
        self._loading = Loading(self._vault, self._entries, policy, patience_s, self._tier)
        self._reading = Reading(self._vault, self._entries, encoding, policy, self._loading.rests)
        self._look = self._reading.look
        self._begin_anew()
        follow(self)

    @overload
    def get(self, key: object) -> V | None: ...
    @overload
    def get(self, key: object, default: D) -> V | D: ...
    def get(self, key: object, default: Any = None) -> Any:
        """The value for `key` if it is there and fresh, else `default`. Loads nothing."""
        plain = canonical_key(key)
        value, entry = self._look(plain)
        if value is MISSING:
            value = self._reading.fresh(plain, entry)
        return default if value is MISSING else value

    def set(
        self, key: object, value: V, *, ttl_s: float | None = None, tags: Iterable[str] = ()
    ) -> None:
        """
        Keep `value`; a load under way will not replace it.

        It writes to disk, and to the second level: in a task, `aset` does not hold up the loop.

        Raises:
            TypeError: The codec cannot encode it, or the key is of a type that cannot be one.
            WrongKindOfCaller: The second level has a client for tasks only.
        """
        plain = canonical_key(key)
        record = self._entries.record(self._entries.encode(value), ttl_s, tags)
        self._set_here(plain, record)
        if self._tier is not None:
            self._tier.replace(plain, record)

    async def aset(
        self, key: object, value: V, *, ttl_s: float | None = None, tags: Iterable[str] = ()
    ) -> None:
        """Like `set`, for tasks."""
        plain = canonical_key(key)
        record = self._entries.record(self._entries.encode(value), ttl_s, tags)
        await _sync.offload(lambda: self._set_here(plain, record))
        if self._tier is not None:
            await self._tier.areplace(plain, record)

    def _set_here(self, plain: bytes, record: Record) -> None:
        with self._lock:
            self._flights.drop_locked(plain)
        self._entries.keep(plain, record, None)

    def delete(self, key: object) -> bool:
        """
        Remove the value for `key`, from the second level too; a load under way is not kept.

        In a task, `adelete` does not hold up the loop.

        Returns:
            Whether there was one in the store.

        Raises:
            WrongKindOfCaller: The second level has a client for tasks only.
        """
        plain = canonical_key(key)
        there = self._delete_here(plain)
        if self._tier is not None:
            self._tier.delete(plain)
            # Once more: somebody may have found it there in between.
            there |= self._delete_here(plain)
        return there

    async def adelete(self, key: object) -> bool:
        """Like `delete`, for tasks."""
        plain = canonical_key(key)
        there = await _sync.offload(lambda: self._delete_here(plain))
        if self._tier is not None:
            await self._tier.adelete(plain)
            there |= await _sync.offload(lambda: self._delete_here(plain))
        return there

    def _delete_here(self, plain: bytes) -> bool:
        with self._lock:
            self._flights.drop_locked(plain)
        return self._entries.delete(plain)

    def invalidate(self, *, tag: str) -> None:
        """Remove all values with this tag; those being loaded will not be kept."""
        with self._lock:
            self._flights.drop_tag_locked(flight_tags((tag,))[0])
        self._entries.invalidate(tag)

    def clear(self) -> None:
        """
        Remove everything, for all processes; what is being loaded will not be kept.

        A second level is left as it is.
        """
        with self._lock:
            self._flights.drop_all_locked()
        self._entries.clear()

    def get_or_load(
        self,
        key: object,
        loader: Loader[V],
        *,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        timeout_s: float | None = None,
    ) -> V:
        """
        The value for `key`, loaded by whoever comes first if it is not there.

        Args:
            key: Text, bytes, a number, None, or a tuple of them.
            loader: Called without arguments; what it returns must be what the codec can encode.
                It may return `Loaded` to say more.
            ttl_s: Of this value; None: as the cache says.
            tags: What `invalidate` finds it by.
            timeout_s: Seconds to wait for others to load it; None: as the cache says.

        Raises:
            LoadTimeout: It was not loaded in time.
            LoadFailed: Loading failed within the last `negative_ttl_s`.
            ReentrantLoad: Its loader needs this very value.
            Exception: What the loader or the codec raised.
        """
        plain = canonical_key(key)
        value, entry = self._look(plain)
        if value is not MISSING:
            return cast(V, value)
        home = _sync.current_home()
        deadline_s = self._deadline_s(timeout_s)
        task = Task(plain, loader, ttl_s, tuple(tags), waits=home is None, deadline_s=deadline_s)
        value = self._served(task, entry, self._refresh)
        while value is MISSING:
            waiter = self._board(task, partial(self._loading.load, task), home)
            try:
                outcome = self._flights.ride(waiter)
            except (LoadTimeout, Late) as error:
                value = self._late(task, entry, error)
            else:
                value = self._landed(task, waiter, outcome)
        return cast(V, value)

    async def aget_or_load(
        self,
        key: object,
        loader: AsyncLoader[V] | Loader[V],
        *,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        timeout_s: float | None = None,
    ) -> V:
        """
        The same for tasks; a `loader` that is a plain function runs in a thread of its own.

        The loop never waits for another process, only the task does.

        Raises:
            LoadTimeout: It was not loaded in time.
            LoadFailed: Loading failed within the last `negative_ttl_s`.
            LoadCancelled: What the loader waited for was cancelled.
            ReentrantLoad: Its loader needs this very value.
            Exception: What the loader or the codec raised.
        """
        plain = canonical_key(key)
        value, entry = self._look(plain)
        if value is not MISSING:
            return cast(V, value)
        task = Task(plain, loader, ttl_s, tuple(tags), deadline_s=self._deadline_s(timeout_s))
        value = self._served(task, entry, self._arefresh)
        while value is MISSING:
            waiter = self._board(task, partial(self._loading.aload, task), _sync.current_home())
            try:
                outcome = await self._flights.aride(waiter)
            except LoadTimeout as error:
                value = self._late(task, entry, error)
            else:
                value = self._landed(task, waiter, outcome)
        return cast(V, value)

    def statistics(self) -> SharedCacheStatistics:
        """What the cache has done in this process, and how much is in the store."""
        usage = self._vault.use(lambda session: session.usage(), StoreUsage(0, 0))
        with self._lock:
            flights, reading = self._flights, self._reading
            loading = len(flights.table)
        return SharedCacheStatistics(
            name=self.name,
            store=self._store,
            entries=usage.entries,
            used_bytes=usage.used_bytes,
            max_bytes=self._max_bytes,
            loading=loading,
            hits=reading.hits.value,
            hits_stale=reading.hits_stale.value,
            hits_on_error=reading.hits_on_error.value + self._loading.on_error.value,
            hits_negative=reading.hits_negative.value,
            misses=reading.misses.value,
            joined=flights.joined,
            loaded_elsewhere=self._loading.elsewhere.value,
            loads=self._loading.loads.value,
            load_failures=self._loading.failures.value,
            load_s=self._loading.load_us.value / 1e6,
            loads_cancelled=flights.cancelled,
            loads_taken_over=flights.taken_over,
            load_timeouts=flights.timeouts,
            refreshes=self._refreshes.value,
            store_failures=self._vault.failures.value,
            store_resets=self._vault.resets.value,
            second_hits=0 if self._tier is None else self._tier.guard.hits.value,
            second_failures=0 if self._tier is None else self._tier.guard.failures.value,
        )

    def close(self) -> None:
        """Close the files that nobody uses now. What uses the cache next opens them again."""
        self._vault.close()

    def _served(self, task: Task, entry: Entry | None, refresh: Callable[[Task], None]) -> Any:
        value, due = self._reading.served(task.key, entry)
        if due:
            refresh(task._replace(ahead=True, waits=True, deadline_s=None))
        return value

    def _board(self, task: Task, loader: Callable[[], Any], home: _sync.Home | None) -> Waiter:
        tags = flight_tags(task.tags)
        waiter = Waiter(Ask(task.key, loader, tags=tags, deadline_s=task.deadline_s), home)
        with self._lock:
            self._flights.board_locked(waiter)
        return waiter

    def _landed(self, task: Task, waiter: Waiter, outcome: Outcome) -> Any:
        if outcome.error is not None:
            raise outcome.error.with_traceback(outcome.traceback)
        if waiter.came_too_late(outcome):
            return MISSING
        record: Record = outcome.value
        return self._entries.value(record)

    def _late(self, task: Task, entry: Entry | None, error: BaseException) -> Any:
        value = self._reading.rescued(task.key, entry)
        if value is not MISSING:
            return value
        if isinstance(error, LoadTimeout):
            raise error
        raise LoadTimeout("The value was not loaded in time.") from None

    def _deadline_s(self, timeout_s: float | None) -> float | None:
        timeout_s = self._policy.timeout_s if timeout_s is None else timeout_s
        until_s = context.deadline_s()
        if timeout_s is not None:
            until_s = min(until_s, _sync.monotonic() + timeout_s)
        return None if until_s == math.inf else until_s

    def _refresh(self, task: Task) -> None:
        flight = self._begin(task, partial(self._loading.load, task), None)
        if flight is not None:
            try:
                _sync.spawn(partial(self._flights.run, flight), name="lmi-refresh")
            except RuntimeError:  # no more threads can be started
                self._flights.call_off(flight)

    def _arefresh(self, task: Task) -> None:
        home = _sync.current_home()
        flight = self._begin(task, partial(self._loading.aload, task), home)
        if flight is not None:
            self._flights.launch(flight)

    def _begin(
        self, task: Task, loader: Callable[[], Any], home: _sync.Home | None
    ) -> Flight | None:
        if self._loading.rests(task.key) or self._loading.busy(task.key):
            return None
        tags = flight_tags(task.tags)
        with self._lock:
            flight = self._flights.begin_locked(Ask(task.key, loader, tags=tags), home)
        if flight is not None:
            self._refreshes.add()
        return flight

    def _begin_anew(self) -> None:
        self._lock = Exclusive()
        self._flights = Flights(self._lock, _as_loaded, _as_failed, _as_landed)
        self._refreshes = _sync.Counter()
        self._loading.forget()
        self._reading.forget()

    def before_fork(self, patience_s: float) -> bool:
        """Let no other thread be in the midst of a change."""
        return self._lock.acquire(patience_s)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self, consistent: bool) -> None:
        """Whoever was loading does so in the parent."""
        if consistent:
            # For a load that forked, and ends in the child as well.
            self._lock.release()
        self._begin_anew()


def _as_loaded(ask: Ask, outcome: Outcome) -> Outcome:
    return outcome


def _as_failed(ask: Ask, error: Exception) -> Outcome:
    return Outcome(error=error, traceback=error.__traceback__, tags=ask.tags)


def _as_landed(flight: Flight, outcome: Outcome, keep: bool) -> None:
    """It was written, or not, while the lock of its key was held."""


def _tier_of(level: SecondLevel, name: str, policy: Policy, now: Callable[[], float]) -> Tier:
    from lmi_runtime.caches.shared.tier import Tier  # few caches have one

    return Tier(level, name, policy, now)
