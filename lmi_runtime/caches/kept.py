"""What a cache keeps, and the rules for it: everything here happens under one lock."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Hashable
from typing import Any, Final

from lmi_runtime.caches.entries import Entry
from lmi_runtime.caches.exclusive import Exclusive
from lmi_runtime.caches.model import Clock, Outcome, Policy
from lmi_runtime.caches.storage import Borrowed, Shelf, Storage, Translated, View
from lmi_runtime.caches.tags import TagIndex
from lmi_runtime.caches.tally import CHECK_S, Counts, LeapWatch

__all__ = ["Kept"]

_FEW: Final = 64


class Kept:
    """
    Entries by key and by tag, with their times, limits and counts.

    Args:
        policy: What is done with them.
        clock: Where the time is read.
        translate: From a caller's key to the key that an entry has, a pair that begins with its
            partition; None: they are the same, and there is one partition.
        mapping: Where entries are kept, if not in a dictionary of ours.
        quota: Entries of one partition, at most.

    Thread safety: `lock` is held for all functions whose name ends in ``_locked``. What they
    return or drop is to be let go of when it is free again: values may have finalizers.
    """

    def __init__(
        self,
        policy: Policy,
        clock: Clock,
        translate: Callable[[Hashable], Hashable] | None,
        mapping: Any,
        quota: int | None,
    ) -> None:
        self.policy = policy
        self.now = clock.monotonic
        self.lock = Exclusive()
        self._clock = clock
        self._translate = translate
        self._mapping = mapping
        self._quota = quota
        # All that follows is guarded by lock; check_at is read without, too.
        self.counts = Counts()
        self.check_at = clock.monotonic() + CHECK_S
        self._watch = LeapWatch(clock)
        self._open()

    def _open(self) -> None:
        policy = self.policy
        self.storage: Storage
        if self._mapping is None:
            self.storage = Shelf(policy.max_size, policy.max_weight, self._quota)
        else:
            self._mapping.clear()
            self.storage = Borrowed(self._mapping, self._find)
        view = self.storage.view
        self.view: View = view if self._translate is None else Translated(view, self._translate)
        # A mapping of the user's is told of each hit, and so no hit may go without the lock.
        self._simple = policy.copy == "none" and self._mapping is None
        self._tags = TagIndex()
        self._tags_limit = _FEW

    def _find(self, key: Hashable) -> Entry | None:
        with self.lock:
            return self.storage.find(key)

    # Clocks.

    def moment(self, forget_flights_locked: Callable[[], None]) -> float:
        """
        The time, after a look whether the clocks still agree. Takes the lock now and then.

        Args:
            forget_flights_locked: Called if they do not.
        """
        now = self.now()
        if now >= self.check_at:
            garbage = None
            with self.lock:
                self.check_at = now + CHECK_S
                if self._watch.leapt():
                    forget_flights_locked()
                    garbage = self._forget_ages_locked()
            del garbage
        return now

    def _forget_ages_locked(self) -> list[Entry | None]:
        """Nobody knows how old anything is: what can expire has."""
        ageing = [e for e in self.storage.entries() if e.times.fresh_until < math.inf]
        self.counts.leaps += 1
        self.counts.expirations += len(ageing)
        return [self.drop_locked(entry.key) for entry in ageing]

    # Reading.

    def use_locked(self, entry: Entry, now: float) -> None:
        """Count that `entry` is given to somebody at `now`."""
        entry.use()
        entry.until = min(entry.limit, self.check_at)
        counts = self.counts
        if entry.error is not None:
            counts.hits_negative += 1
        elif now < entry.times.fresh_until:
            counts.hits += 1
        elif now < entry.times.stale_until:
            counts.hits_stale += 1
        else:
            counts.hits_on_error += 1

    def usable_locked(self, key: Hashable, now: float) -> Entry | None:
        """The entry for `key`, if its value may be given although loading failed."""
        entry = self.storage.find(key)
        if entry is None or entry.error is not None or now >= entry.times.gone_at:
            return None
        return entry

    def tagged_locked(self, tag: str) -> list[Entry]:
        """All entries with `tag`."""
        found = [self.storage.find(key) for key in self._tags.keys(tag)]
        return [entry for entry in found if entry is not None and tag in entry.tags]

    def hits_locked(self) -> int:
        """Fresh values given since the beginning."""
        return self.counts.hits + sum(entry.hits for entry in self.storage.entries())

    # Changing.

    def keep_locked(self, key: Hashable, outcome: Outcome, now: float) -> object:
        """Keep a value for as long as it is good for anything."""
        times = self.policy.times(now, outcome.ttl_s, _spread() if self.policy.jitter else 0.0)
        if times.gone_at <= now:
            return self.drop_locked(key)
        entry = Entry(key, outcome, times, simple=self._simple, check_at=self.check_at)
        return self._put_locked(entry, now)

    def keep_failure_locked(self, key: Hashable, outcome: Outcome, now: float) -> object:
        """A load failed: keep what is there a while longer, or the exception if it is to be."""
        entry = self.usable_locked(key, now)
        if entry is not None:
            later = entry.retried_at(now + self.policy.retry_s(entry.times))
            self.storage.swap(entry, later)
            self.counts.hits += entry.hits
            return entry
        if outcome.kept is None:
            return None
        kept = Outcome(error=outcome.kept, tags=outcome.tags)
        return self._put_locked(Entry(key, kept, self.policy.negative_times(now)), now)

    def drop_locked(self, key: Hashable) -> Entry | None:
        """Take the entry for `key` out."""
        entry = self.storage.drop(key)
        if entry is not None:
            self._tags.discard(entry)
            self.counts.hits += entry.hits
        return entry

    def _put_locked(self, entry: Entry, now: float) -> list[Entry]:
        key: Any = entry.key
        old = self.storage.find(key)
        out, taken = self.storage.put(entry, key[0] if self._translate else None, now)
        for gone in out:
            self._tags.discard(gone)
            self.counts.hits += gone.hits
            if gone is not old:
                aged = gone.times.gone_at <= now
                self.counts.expirations += aged
                self.counts.evictions += not aged
        self.counts.refused += not taken
        if taken and entry.tags:
            self._tags.add(entry)
            self._tidy_tags_locked()
        return out

    def _tidy_tags_locked(self) -> None:
        """Forget the keys that a mapping of the user's has dropped without telling."""
        if len(self._tags) > self._tags_limit:
            self._tags.rebuild(self.storage.entries())
            self._tags_limit = _FEW + 2 * len(self._tags)

    def after_fork_in_child(self, consistent: bool) -> None:
        """Make a new lock; start empty if another thread was in the middle of a change."""
        self.lock = Exclusive()
        if not consistent:
            self._open()


def _spread() -> float:
    """A random number from 0 to 1; `random` takes longer to import than all caches together."""
    return int.from_bytes(os.urandom(2), "big") / 0xFFFF
