"""What a shared cache has done in this process."""

from __future__ import annotations

from lmi_runtime._facts import Facts

__all__ = ["SharedCacheStatistics"]


class SharedCacheStatistics(Facts):
    """
    What a shared cache has done in this process, and how its store is.

    Attributes:
        name: The cache's.
        store: ``sqlite`` or ``lmdb``.
        entries: Entries in the store now, expired ones among them; all processes see the same.
        used_bytes: Bytes of the store's file in use now.
        max_bytes: Limit of the file.
        loading: Loads under way now.
        hits: Values given from the store that were fresh.
        hits_stale: Given although expired, while they were being refreshed.
        hits_on_error: Given although expired, because loading had failed.
        hits_negative: Failures that were kept, raised again.
        misses: Times that nothing usable was there.
        joined: Those of them that waited for a load of this process.
        loaded_elsewhere: Loads not made, because another process had made them meanwhile.
        loads: Loads that ended, in the background ones too.
        load_failures: Those that raised.
        load_s: Seconds all of them took.
        loads_cancelled: Loads cancelled because nobody waited for them any more.
        loads_taken_over: Loads that another caller began again when who ran them was gone.
        load_timeouts: Waits that ended because of a time-out or a deadline.
        refreshes: Loads in the background, begun for values that were still served.
        store_failures: Reads and writes that the store could not do.
        store_resets: Times that this process found the store broken and set it aside.
        second_hits: Values found in the second level.
        second_failures: What the second level could not do.
    """

    name: str
    store: str
    entries: int = 0
    used_bytes: int = 0
    max_bytes: int = 0
    loading: int = 0
    hits: int = 0
    hits_stale: int = 0
    hits_on_error: int = 0
    hits_negative: int = 0
    misses: int = 0
    joined: int = 0
    loaded_elsewhere: int = 0
    loads: int = 0
    load_failures: int = 0
    load_s: float = 0.0
    loads_cancelled: int = 0
    loads_taken_over: int = 0
    load_timeouts: int = 0
    refreshes: int = 0
    store_failures: int = 0
    store_resets: int = 0
    second_hits: int = 0
    second_failures: int = 0

    @property
    def hit_ratio(self) -> float:
        """Share of all asked that needed no waiting for a load; 0.0 before the first."""
        given = self.hits + self.hits_stale + self.hits_on_error + self.hits_negative
        return given / (given + self.misses) if given + self.misses else 0.0
