"""A cache for threads and tasks: each value is loaded once for all who want it."""

from __future__ import annotations

import copy as copying
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final, Generic, TypeVar, cast, overload

from lmi_runtime import _sync
from lmi_runtime.caches.entries import Entry, Standing, judge
from lmi_runtime.caches.flights import Ask, Flight, Flights, Waiter
from lmi_runtime.caches.forks import follow
from lmi_runtime.caches.kept import Kept
from lmi_runtime.caches.model import (
    AsyncLoader,
    CacheStatistics,
    Clock,
    Copying,
    Loader,
    Outcome,
    Policy,
    unwrap,
)
from lmi_runtime.caches.partitions import Partition, chooser, current_tenant
from lmi_runtime.caches.sharing import own_copy
from lmi_runtime.context import peek
from lmi_runtime.errors import LoadTimeout

__all__ = ["Cache"]

V = TypeVar("V")
D = TypeVar("D")

_COPIES: Final[dict[str, Callable[[Any], Any] | None]] = {
    "none": None,
    "shallow": copying.copy,
    "deep": copying.deepcopy,
}


class Cache(Generic[V]):
    """
    Values by key, shared by all threads and tasks of this process.

    A missing value is loaded once, however many ask for it, and the load belongs to none of them:
    it runs outside their requests, and one who is cancelled or out of time leaves the others
    alone. An exception is raised to all who waited, and is not kept unless `negative_ttl_s` says
    so. What is set, deleted or invalidated during a load wins over what the load brings.

    Args:
        max_size: Values kept, at most; None: no limit. Values that were not asked for lately go
            first (SIEVE: like the least recently used, and hits take no lock).
        ttl_s: Seconds for which a value is fresh; None: until it is evicted.
        jitter: Up to this share of each `ttl_s`, from 0 to 1, is taken off at random.
        stale_s: Seconds after its expiry for which a value is given while it is loaded again in
            the background.
        refresh_ahead: Share of `ttl_s`, from 0 to 1, after which a hit has the value loaded again
            in the background, before it expires.
        stale_if_error_s: Seconds after its expiry for which a value is given if loading it again
            fails, or takes longer than the caller waits.
        negative_ttl_s: Seconds for which the exception of a loader is kept and raised again.
        negative_errors: Which exceptions that goes for.
        max_weight: Sum of the values' weights, at most; None: no limit.
        weigh: What a value weighs; 1 by default.
        copy: ``"none"``: callers get the object that is kept. ``"shallow"`` or ``"deep"``: each
            gets a copy, and so changes what nobody else gets.
        timeout_s: Seconds that a caller waits for a load, at most. Its request's deadline
            counts anyway. Neither ends a `def` loader that runs in the caller's own thread.
        storage: Where values are kept instead: a mapping, such as one of cachetools or
            cachebox. Its limits count, not `max_size`, `max_weight` and `quota`.
        partition: ``"tenant"``: each tenant has keys of its own, and loses no value to another
            one that holds more. Or a function that returns whose keys the calling code uses.
        quota: Values of one partition, at most; None: no limit of its own.
        name: What statistics and errors call it.
        clock: Where it reads the time.

    Raises:
        ConfigurationError: A number is out of range.

    Thread safety: everything, from any thread and any task, on asyncio, uvloop and trio.
    """

    def __init__(
        self,
        max_size: int | None = 1024,
        ttl_s: float | None = None,
        *,
        jitter: float = 0.0,
        stale_s: float = 0.0,
        refresh_ahead: float | None = None,
        stale_if_error_s: float = 0.0,
        negative_ttl_s: float = 0.0,
        negative_errors: tuple[type[Exception], ...] = (Exception,),
        max_weight: float | None = None,
        weigh: Callable[[V], float] | None = None,
        copy: Copying = "none",
        timeout_s: float | None = None,
        storage: Any = None,
        partition: Partition = None,
        quota: int | None = None,
        name: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name: str = name or "cache"
        self.policy: Policy = Policy(
            ttl_s=ttl_s,
            jitter=jitter,
            stale_s=stale_s,
            refresh_ahead=refresh_ahead,
            stale_if_error_s=stale_if_error_s,
            negative_ttl_s=negative_ttl_s,
            negative_errors=negative_errors,
            max_size=max_size,
            max_weight=max_weight,
            weigh=weigh,
            copy=copy,
            timeout_s=timeout_s,
        )
        self._copied = _COPIES[copy]
        self._which = chooser(partition)
        self._kept = Kept(
            self.policy,
            clock or Clock(_sync.monotonic, _sync.wall_time),
            None if self._which is None else self._full,
            storage,
            quota,
        )
        self._flights = Flights(self._kept.lock, self._prepare, self._failed, self._land_locked)
        # What hits go by. Changed only in a child after a fork.
        self._now = self._kept.now
        self._entries = self._kept.view
        follow(self)

    def __repr__(self) -> str:
        return f"<Cache {self.name}: {len(self)} values>"

    # Reading.

    @overload
    def get(self, key: Hashable) -> V | None: ...
    @overload
    def get(self, key: Hashable, default: D) -> V | D: ...
    def get(self, key: Hashable, default: Any = None) -> Any:
        """The value for `key` if it is there and fresh, else `default`."""
        try:
            entry = self._entries[key]
            if self._now() < entry.until:
                entry.hits += 1
                return entry.value
        except KeyError:
            pass
        return self._get_slowly(key, default)

    def get_or_load(
        self,
        key: Hashable,
        loader: Loader[V],
        # By position as well: what can only be named makes each call a fifth slower.
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        timeout_s: float | None = None,
    ) -> V:
        """
        The value for `key`; if it is not there, what `loader` returns. For threads.

        The first to ask runs `loader` in its own thread, outside its request. In an event loop's
        thread it does not wait for others, which would block the loop, but calls `loader`.

        Args:
            key: Hashable.
            loader: Called without arguments; may return `Loaded` to say more about its value.
            ttl_s: Seconds for which the value is fresh; None: as the cache says.
            tags: What `invalidate` finds the value by.
            timeout_s: Seconds to wait for somebody else's load; None: as the cache says.

        Raises:
            LoadTimeout: The load was not over in time.
            ReentrantLoad: `loader` asked for the value that it is to load.
            WrongKindOfCaller: `loader` is for tasks.
            Exception: What `loader` raised.
        """
        try:
            entry = self._entries[key]
            if self._now() < entry.until:
                entry.hits += 1
                return entry.value  # type: ignore[no-any-return]
        except KeyError:
            pass
        return cast(V, self._load(self._ask(key, loader, ttl_s, tags, timeout_s)))

    async def aget_or_load(
        self,
        key: Hashable,
        loader: AsyncLoader[V] | Loader[V],
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        timeout_s: float | None = None,
    ) -> V:
        """
        The value for `key`; if it is not there, what `loader` returns. For tasks.

        `loader` runs in a task of its own on the loop of the first to ask, a `def` loader in a
        thread. It is cancelled when the last one who waits is. A hit does not yield to the loop.

        Args and raises as for `get_or_load`; here `timeout_s` and the deadline go for all
        callers, and `loader` may be an `async def`.
        """
        try:
            entry = self._entries[key]
            if self._now() < entry.until:
                entry.hits += 1
                return entry.value  # type: ignore[no-any-return]
        except KeyError:
            pass
        return cast(V, await self._aload(self._ask(key, loader, ttl_s, tags, timeout_s)))

    def __contains__(self, key: Hashable) -> bool:
        now = self._moment()
        with self._kept.lock:
            entry = self._kept.storage.find(self._full(key))
            return entry is not None and _fresh(entry, now)

    def __len__(self) -> int:
        """Values kept, expired ones among them."""
        with self._kept.lock:
            return len(self._kept.storage)

    # Changing.

    def set(
        self, key: Hashable, value: V, *, ttl_s: float | None = None, tags: Iterable[str] = ()
    ) -> None:
        """
        Keep `value` for `key`, whatever a load under way may bring.

        Args:
            key: Hashable.
            value: What is kept; a copy of it, if the cache copies.
            ttl_s: Seconds for which it is fresh; None: as the cache says.
            tags: What `invalidate` finds it by.
        """
        full = self._full(key)
        outcome = self._outcome(value, ttl_s, tags)
        now = self._moment()
        with self._kept.lock:
            self._flights.drop_locked(full)
            garbage = self._kept.keep_locked(full, outcome, now)
        del garbage

    def delete(self, key: Hashable) -> bool:
        """
        Forget the value for `key`; what a load under way brings is not kept.

        Returns:
            Whether there was one.
        """
        full = self._full(key)
        with self._kept.lock:
            self._flights.drop_locked(full)
            entry = self._kept.drop_locked(full)
            self._kept.counts.invalidations += entry is not None
        return entry is not None

    def invalidate(self, *, tag: str) -> int:
        """
        Forget all values that have `tag`, in all partitions, those being loaded now included.

        Returns:
            How many were kept.
        """
        kept = self._kept
        with kept.lock:
            self._flights.drop_tag_locked(tag)
            dropped = [kept.drop_locked(entry.key) for entry in kept.tagged_locked(tag)]
            kept.counts.invalidations += len(dropped)
        return len(dropped)

    def clear(self) -> None:
        """Forget all values, in all partitions; what loads under way bring is not kept."""
        kept = self._kept
        with kept.lock:
            self._flights.drop_all_locked()
            garbage = [kept.drop_locked(entry.key) for entry in kept.storage.entries()]
            kept.counts.invalidations += len(garbage)
        del garbage

    def statistics(self) -> CacheStatistics:
        """What the cache has done, and how it is; takes the longer the more values it keeps."""
        policy, flights, kept = self.policy, self._flights, self._kept
        with kept.lock:
            facts = kept.counts.facts() | {"hits": kept.hits_locked()}
            return CacheStatistics(
                name=self.name,
                size=len(kept.storage),
                weight=kept.storage.weight,
                max_size=policy.max_size,
                max_weight=policy.max_weight,
                partitions=kept.storage.partitions,
                loading=len(flights.table),
                joined=flights.joined,
                loads_cancelled=flights.cancelled,
                loads_taken_over=flights.taken_over,
                load_timeouts=flights.timeouts,
                **facts,
            )

    # Keys and time.

    def _full(self, key: Hashable) -> Hashable:
        return key if self._which is None else (self._which(), key)

    def _moment(self) -> float:
        return self._kept.moment(self._flights.drop_all_locked)

    def _ask(
        self,
        key: Hashable,
        loader: Callable[[], Any],
        ttl_s: float | None,
        tags: Iterable[str],
        timeout_s: float | None,
    ) -> Ask:
        timeout_s = self.policy.timeout_s if timeout_s is None else timeout_s
        request = peek()
        # Work that outlives its request is not over because its request is.
        deadline_s = None if request is None or request.ended else request.deadline_s
        if timeout_s is not None:
            own_s = _sync.monotonic() + timeout_s
            deadline_s = own_s if deadline_s is None else min(own_s, deadline_s)
        return Ask(
            self._full(key),
            loader,
            ttl_s=ttl_s,
            tags=tags,
            deadline_s=deadline_s,
            tenant=current_tenant() if self._which is current_tenant else None,
        )

    # Loading: what threads and tasks have in common, and a shell for each.

    def _get_slowly(self, key: Hashable, default: Any) -> Any:
        full, now = self._full(key), self._moment()
        with self._kept.lock:
            entry = self._kept.storage.find(full)
            if entry is None or not _fresh(entry, now):
                self._kept.counts.misses += 1
                return default
            self._kept.use_locked(entry, now)
        return self._given(entry.value)

    def _load(self, ask: Ask) -> Any:
        home = _sync.current_home()
        outcome: Outcome | None
        while True:
            entry, waiter, refresh = self._board(ask, home, None)
            if refresh is not None:
                self._refresh_in_thread(refresh)
            if waiter is None:
                return self._taken(entry)
            try:
                outcome = self._flights.ride(waiter)
                if not waiter.came_too_late(outcome):
                    return self._delivered(ask, outcome, mine=waiter.leads)
            except LoadTimeout:
                return self._rescued(ask)
            finally:
                # An exception on its way holds this frame, which must not hold the exception.
                outcome = waiter = None

    async def _aload(self, ask: Ask) -> Any:
        home = _sync.current_home()
        outcome: Outcome | None
        while True:
            entry, waiter, refresh = self._board(ask, home, home)
            if refresh is not None:
                self._flights.launch(refresh)
            if waiter is None:
                return self._taken(entry)
            try:
                outcome = await self._flights.aride(waiter)
                if not waiter.came_too_late(outcome):
                    return self._delivered(ask, outcome, mine=False)
            except LoadTimeout:
                return self._rescued(ask)
            finally:
                outcome = waiter = None

    def _board(
        self, ask: Ask, home: _sync.Home | None, refresh_home: _sync.Home | None
    ) -> tuple[Entry | None, Waiter | None, Flight | None]:
        """What to give, or a place in the flight to wait for; and a refresh that is to begin."""
        kept, now = self._kept, self._moment()
        with kept.lock:
            entry = kept.storage.find(ask.key)
            standing = Standing.GONE if entry is None else judge(entry, now)
            if entry is None or standing in _LOADS:
                kept.counts.misses += 1
                if entry is not None and standing is Standing.GONE:
                    kept.counts.expirations += 1
                    kept.drop_locked(entry.key)
                waiter = Waiter(ask, home)
                self._flights.board_locked(waiter)
                return None, waiter, None
            kept.use_locked(entry, now)
            if standing is not Standing.REFRESH:
                return entry, None, None
            refresh = self._flights.begin_locked(ask, refresh_home)
            kept.counts.refreshes += refresh is not None
            return entry, None, refresh

    def _refresh_in_thread(self, refresh: Flight) -> None:
        try:
            _sync.spawn(lambda: self._flights.run(refresh), name="lmi-refresh")
        except RuntimeError:  # no more threads, or the process ends: the value is still good
            self._flights.call_off(refresh)

    def _taken(self, entry: Entry | None) -> Any:
        assert entry is not None
        if entry.error is not None:
            raise own_copy(entry.error, None)
        return self._given(entry.value)

    def _given(self, value: Any) -> Any:
        return value if self._copied is None else self._copied(value)

    def _delivered(self, ask: Ask, outcome: Outcome, *, mine: bool) -> Any:
        if outcome.error is None:
            return self._given(outcome.value)
        entry = self._usable(ask.key)
        if entry is not None:
            return self._given(entry.value)
        try:
            if mine:
                raise outcome.error.with_traceback(outcome.traceback)
            raise own_copy(outcome.error, outcome.traceback)
        finally:
            del outcome

    def _rescued(self, ask: Ask) -> Any:
        """In an `except`: a value that may be used all the same, or on with the error."""
        entry = self._usable(ask.key)
        if entry is None:
            raise
        return self._given(entry.value)

    def _usable(self, key: Hashable) -> Entry | None:
        now = self._now()
        with self._kept.lock:
            entry = self._kept.usable_locked(key, now)
            if entry is not None:
                self._kept.use_locked(entry, now)
            return entry

    # Parts of a load.

    def _prepare(self, ask: Ask, result: Any) -> Outcome:
        self._moment()  # a machine may have slept meanwhile
        return self._outcome(result, ask.ttl_s, ask.tags)

    def _outcome(self, result: Any, ttl_s: float | None, tags: Iterable[str]) -> Outcome:
        outcome = unwrap(result, ttl_s=ttl_s, tags=tags, weigh=self.policy.weigh)
        if self._copied is None:
            return outcome
        return outcome.__replace__(value=self._copied(outcome.value))

    def _failed(self, ask: Ask, error: Exception) -> Outcome:
        traceback, kept = error.__traceback__, None
        if self.policy.negative_ttl_s and isinstance(error, self.policy.negative_errors):
            kept = own_copy(error, traceback)
            if kept is not error:
                kept.__traceback__ = None  # it would keep everything alive that the load used
        return Outcome(error=error, traceback=traceback, kept=kept, tags=ask.tags)

    def _land_locked(self, flight: Flight, outcome: Outcome, current: bool) -> object:
        kept = self._kept
        kept.counts.loads += 1
        kept.counts.load_failures += outcome.error is not None
        kept.counts.load_s += _sync.monotonic() - flight.began_s
        if not current:
            return None
        keep = kept.keep_locked if outcome.error is None else kept.keep_failure_locked
        return keep(flight.ask.key, outcome, self._now())

    # Forks.

    def before_fork(self, patience_s: float) -> bool:
        """See `forks.Forking`."""
        return self._kept.lock.acquire(patience_s)

    def after_fork_in_parent(self) -> None:
        """See `forks.Forking`."""
        self._kept.lock.release()

    def after_fork_in_child(self, consistent: bool) -> None:
        """See `forks.Forking`."""
        self._kept.after_fork_in_child(consistent)
        self._entries = self._kept.view
        self._flights.lock = self._kept.lock
        self._flights.table = {}


def _fresh(entry: Entry, now: float) -> bool:
    return entry.error is None and now < entry.times.fresh_until


_LOADS: Final = (Standing.GONE, Standing.FALLBACK)
