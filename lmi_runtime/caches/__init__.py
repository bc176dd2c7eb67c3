"""Share results between invocations: one computation a key."""

from lmi_runtime.caches.cache import Cache
from lmi_runtime.caches.decorator import cached
from lmi_runtime.caches.model import CacheStatistics, Loaded

__all__ = ["Cache", "CacheStatistics", "Loaded", "cached"]
