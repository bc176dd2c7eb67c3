"""A kept value, and what may be done with it at a moment."""

from __future__ import annotations

import math
from collections.abc import Hashable
from enum import Enum
from typing import TYPE_CHECKING, Any

from lmi_runtime.caches.model import Outcome, Times

if TYPE_CHECKING:
    from lmi_runtime.caches.sieve import Line

__all__ = ["Entry", "Standing", "judge", "weight_of"]

_NEVER = -math.inf


class Entry:
    """
    A kept value.

    Value, times and tags never change: a new value is a new entry, so whoever holds one without a
    lock reads things that belong together.

    Attributes:
        value: What was loaded or set.
        error: What was raised instead.
        limit: Up to here, in seconds of the monotonic clock, a hit is just that: the value is
            fresh, nobody wants a copy, no refresh is due.
        until: The same, or earlier: then the clocks are looked at, and it is moved on. Any
            thread that has looked writes it, without a lock: all write the same.
        times: See `Times`.
        retry_at: A refresh failed; before this moment none is tried.
        hits: How often it was given without a lock. It tells statistics, and eviction whether
            the value is in use; an update that gets lost, as on free-threaded builds, costs
            no more than that.
        mark: What `hits` was when eviction passed by. Guarded by the cache's lock.
    """

    __slots__ = (
        "error",
        "hits",
        "key",
        "limit",
        "line",
        "mark",
        "newer",
        "older",
        "retry_at",
        "tags",
        "times",
        "until",
        "value",
        "weight",
    )

    def __init__(
        self,
        key: Hashable,
        outcome: Outcome,
        times: Times,
        *,
        simple: bool = True,
        retry_at: float = _NEVER,
        check_at: float = math.inf,
    ) -> None:
        self.key = key
        self.value: Any = outcome.value
        self.error = outcome.error
        self.weight = outcome.weight
        self.tags = outcome.tags
        self.times = times
        self.limit = min(times[0], times[1]) if simple and outcome.error is None else _NEVER
        self.until = min(self.limit, check_at)
        self.retry_at = retry_at
        self.hits = 0
        self.mark = 0
        # Where it stands in its line; guarded by the cache's lock.
        self.line: Line | None = None
        self.older: Entry | None = None
        self.newer: Entry | None = None

    def retried_at(self, moment_s: float) -> Entry:
        """The same after a refresh that failed: the next one not before `moment_s`."""
        outcome = Outcome(value=self.value, tags=self.tags, weight=self.weight)
        simple = self.limit != _NEVER
        return Entry(self.key, outcome, self.times, simple=simple, retry_at=moment_s)

    @property
    def in_use(self) -> bool:
        """Whether it was asked for since eviction passed by."""
        return self.hits != self.mark

    def use(self) -> None:
        """Let it count as in use. Under the cache's lock."""
        self.mark = -1


class Standing(Enum):
    """What may be done with an entry."""

    FRESH = "give it"
    REFRESH = "give it, and refresh it in the background"
    STALE = "give it: expired, but refreshing it is not due"
    NEGATIVE = "raise it"
    FALLBACK = "load, and give it if that fails"
    GONE = "nothing"


def judge(entry: Entry, now_s: float) -> Standing:
    """What may be done with `entry` at `now_s` when there is a loader."""
    times = entry.times
    if entry.error is not None:
        return Standing.NEGATIVE if now_s < times.fresh_until else Standing.GONE
    due = now_s >= entry.retry_at
    if now_s < times.fresh_until:
        return Standing.REFRESH if due and now_s >= times.refresh_at else Standing.FRESH
    if now_s < times.stale_until:
        return Standing.REFRESH if due else Standing.STALE
    if now_s < times.error_until:
        return Standing.FALLBACK if due else Standing.STALE
    return Standing.GONE


def weight_of(entry: Entry) -> float:
    """What an entry weighs; a `getsizeof` for storages that weigh what they hold."""
    return entry.weight
