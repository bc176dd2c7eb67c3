"""Share results between all worker processes of an environment."""

from lmi_runtime.caches.shared.cache import SharedCache
from lmi_runtime.caches.shared.codecs import Codec
from lmi_runtime.caches.shared.statistics import SharedCacheStatistics

__all__ = ["Codec", "SharedCache", "SharedCacheStatistics"]
