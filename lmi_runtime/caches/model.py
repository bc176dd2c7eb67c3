"""Facts about cached values, as the caches and their users tell them to each other."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from lmi_runtime._facts import Facts
from lmi_runtime.errors import ConfigurationError

__all__ = [
    "AsyncLoader",
    "CacheStatistics",
    "Clock",
    "Copying",
    "Loaded",
    "Loader",
    "Outcome",
    "Policy",
    "Times",
    "unwrap",
]

V = TypeVar("V")

Copying = Literal["none", "shallow", "deep"]


class Loaded(Facts, Generic[V]):
    """
    What a loader returns that knows more about its value than the cache does.

    Attributes:
        value: The value.
        ttl_s: Seconds for which it is fresh; None: as the caller or the cache says.
        tags: What `invalidate` finds it by, besides the caller's tags.
        weight: What it counts for against the cache's `max_weight`; None: it is weighed.
    """

    value: V
    ttl_s: float | None = None
    tags: Iterable[str] = ()
    weight: float | None = None


Loader: TypeAlias = Callable[[], V | Loaded[V]]
AsyncLoader: TypeAlias = Callable[[], Awaitable[V | Loaded[V]]]


class Clock(Facts, kw_only=False):
    """
    Where a cache reads the time.

    Attributes:
        monotonic: Seconds that never go back: how old a value is.
        wall: Seconds since the epoch: read only to notice that `monotonic` stood still, as it
            does while a machine is suspended, or between a snapshot and its restore.
    """

    monotonic: Callable[[], float]
    wall: Callable[[], float]


class Times(NamedTuple):
    """
    Until when, in seconds of the monotonic clock, a value is good for what.

    Attributes:
        refresh_at: From here on a hit also starts a refresh in the background.
        fresh_until: From here on it has expired.
        stale_until: Until here it is served while it is refreshed in the background.
        error_until: Until here it is served when loading fails.
    """

    refresh_at: float = math.inf
    fresh_until: float = math.inf
    stale_until: float = math.inf
    error_until: float = math.inf

    @property
    def gone_at(self) -> float:
        """From here on it is good for nothing."""
        return max(self.fresh_until, self.stale_until, self.error_until)


class Policy(Facts):
    """
    What a cache does with a value over time, and how much it keeps.

    Attributes:
        ttl_s: Seconds for which a value is fresh; None: until it is evicted.
        jitter: Up to this share of each `ttl_s` is taken off at random, from 0 to 1, so that
            what was loaded together does not expire together.
        stale_s: Seconds after its expiry for which a value is served while one caller's
            request has it refreshed in the background.
        refresh_ahead: Share of `ttl_s`, between 0 and 1, after which a hit has the value
            refreshed in the background before it expires.
        stale_if_error_s: Seconds after its expiry for which a value is served when loading
            it again fails.
        negative_ttl_s: Seconds for which a loader's exception is kept and raised again; 0:
            never. It is also how long a failed refresh is not tried again.
        negative_errors: Which exceptions that goes for.
        max_size: Values kept, at most; None: no limit.
        max_weight: Sum of their weights, at most; None: no limit.
        weigh: What a value weighs; 1 by default.
        copy: What callers get: ``none``, the kept object itself; ``shallow`` or ``deep``, a
            copy each, so that none can change what others get.
        timeout_s: Seconds that a caller waits for somebody else's load, at most; its request's
            deadline counts anyway.
    """

    ttl_s: float | None = None
    jitter: float = 0.0
    stale_s: float = 0.0
    refresh_ahead: float | None = None
    stale_if_error_s: float = 0.0
    negative_ttl_s: float = 0.0
    negative_errors: tuple[type[Exception], ...] = (Exception,)
    max_size: int | None = 1024
    max_weight: float | None = None
    weigh: Callable[[Any], float] | None = None
    copy: Copying = "none"
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigurationError(f"{name} must be from {low:g} to {high:g}, not {value!r}")
        if self.copy not in ("none", "shallow", "deep"):
            raise ConfigurationError(f"copy must be 'none', 'shallow' or 'deep', not {self.copy!r}")

    def times(self, now_s: float, ttl_s: float | None, spread: float) -> Times:
        """
        The times of a value that came at `now_s`.

        Args:
            now_s: Seconds of the monotonic clock.
            ttl_s: Of this value; None: as the cache says.
            spread: From 0 to 1: how much of the jitter is taken off.
        """
        ttl_s = self.ttl_s if ttl_s is None else ttl_s
        if ttl_s is None or ttl_s == math.inf:
            return _FOR_EVER
        ttl_s *= 1.0 - self.jitter * spread
        fresh_until = now_s + ttl_s
        ahead = 1.0 if self.refresh_ahead is None else self.refresh_ahead
        return Times(
            now_s + ttl_s * ahead,
            fresh_until,
            fresh_until + self.stale_s,
            fresh_until + self.stale_if_error_s,
        )

    def negative_times(self, now_s: float) -> Times:
        """The times of an exception that came at `now_s`."""
        fresh_until = now_s + self.negative_ttl_s
        return Times(math.inf, fresh_until, fresh_until, fresh_until)

    def retry_s(self, times: Times) -> float:
        """Seconds after a failed refresh before the next one: a failing backend is not hammered."""
        return self.negative_ttl_s or min(1.0, max(0.0, times.gone_at - times.refresh_at) / 8)


_FOR_EVER = Times()
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("ttl_s", 0, math.inf),
    ("jitter", 0, 1),
    ("stale_s", 0, math.inf),
    ("refresh_ahead", 0, 1),
    ("stale_if_error_s", 0, math.inf),
    ("negative_ttl_s", 0, math.inf),
    ("max_size", 1, math.inf),
    ("max_weight", 0, math.inf),
    ("timeout_s", 0, math.inf),
)


class Outcome(Facts):
    """
    How a load ended: with `value` and what is known about it, or with `error`.

    Attributes:
        value: What was loaded.
        error: What the loader raised.
        traceback: Where it raised it.
        kept: A copy of `error` without its traceback, if it is to be kept for a while.
        ttl_s: Of this value; None: as the cache says.
        tags: All its tags.
        weight: What it counts for.
    """

    value: Any = None
    error: Exception | None = None
    traceback: TracebackType | None = None
    kept: Exception | None = None
    ttl_s: float | None = None
    tags: frozenset[str] = frozenset()
    weight: float = 1


def unwrap(
    result: Any,
    *,
    ttl_s: float | None,
    tags: Iterable[str],
    weigh: Callable[[Any], float] | None,
) -> Outcome:
    """
    What a loader returned, with what its caller said about it where it said nothing itself.

    Raises:
        ValueError: Its weight is no number of at least 0: sums of weights would mean nothing.
    """
    facts = result if isinstance(result, Loaded) else Loaded(value=result)
    weight = facts.weight
    if weight is None:
        weight = 1 if weigh is None else weigh(facts.value)
    if not weight >= 0:  # which NaN is not, either
        raise ValueError(f"A value cannot weigh {weight!r}: weights are numbers of at least 0.")
    return Outcome(
        value=facts.value,
        ttl_s=ttl_s if facts.ttl_s is None else facts.ttl_s,
        tags=frozenset((*tags, *facts.tags)),
        weight=weight,
    )


class CacheStatistics(Facts):
    """
    What a cache has done, and how it is.

    Attributes:
        name: The cache's.
        size: Values kept now, expired ones among them.
        weight: Their weights, all together.
        max_size: Values kept at most; None: no limit.
        max_weight: Weights at most; None: no limit.
        partitions: Partitions that hold anything now.
        loading: Loads under way now.
        hits: Values given from the cache that were fresh.
        hits_stale: Given although expired, while they were being refreshed.
        hits_on_error: Given although expired, because loading had failed or was late.
        hits_negative: Kept exceptions raised again.
        misses: Times that nothing usable was there.
        joined: Those of them that waited for a load of somebody else.
        loads: Loads that ended, in the background ones too.
        load_failures: Those that raised.
        load_s: Seconds all of them took.
        loads_cancelled: Loads cancelled because nobody waited for them any more.
        loads_taken_over: Loads that another caller began again when who ran them was gone.
        load_timeouts: Waits that ended because of a time-out or a deadline.
        refreshes: Loads in the background, begun for values that were still served.
        evictions: Values dropped to keep within the limits.
        expirations: Values dropped because of their age.
        invalidations: Values dropped because somebody said so.
        refused: Values not kept because one alone was heavier than all may be.
        leaps: Times that the clocks did not agree, and all that can expire was dropped.
    """

    name: str
    size: int = 0
    weight: float = 0
    max_size: int | None = None
    max_weight: float | None = None
    partitions: int = 0
    loading: int = 0
    hits: int = 0
    hits_stale: int = 0
    hits_on_error: int = 0
    hits_negative: int = 0
    misses: int = 0
    joined: int = 0
    loads: int = 0
    load_failures: int = 0
    load_s: float = 0.0
    loads_cancelled: int = 0
    loads_taken_over: int = 0
    load_timeouts: int = 0
    refreshes: int = 0
    evictions: int = 0
    expirations: int = 0
    invalidations: int = 0
    refused: int = 0
    leaps: int = 0

    @property
    def hit_ratio(self) -> float:
        """Share of all asked that needed no waiting for a load; 0.0 before the first."""
        given = self.hits + self.hits_stale + self.hits_on_error + self.hits_negative
        return given / (given + self.misses) if given + self.misses else 0.0
