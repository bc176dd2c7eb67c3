"""Share results between all worker processes of an environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmi_runtime._lazy import lazily

if TYPE_CHECKING:
    from lmi_runtime.caches.shared.cache import SharedCache
    from lmi_runtime.caches.shared.codecs import Codec
    from lmi_runtime.caches.shared.statistics import SharedCacheStatistics
    from lmi_runtime.caches.shared.through import Through

__all__ = ["Codec", "SharedCache", "SharedCacheStatistics", "Through"]

_FROM = {
    "Codec": "codecs",
    "SharedCache": "cache",
    "SharedCacheStatistics": "statistics",
    "Through": "through",
}


__getattr__ = lazily(globals(), _FROM)
