"""Share results between all worker processes of an environment."""

from lmi_runtime.caches.shared.cache import SharedCache
from lmi_runtime.caches.shared.codecs import Codec
from lmi_runtime.caches.shared.statistics import SharedCacheStatistics
from lmi_runtime.caches.shared.through import Through

__all__ = ["Codec", "SharedCache", "SharedCacheStatistics", "Through"]
