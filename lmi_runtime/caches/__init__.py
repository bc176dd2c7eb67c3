"""Share results between invocations: one computation a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmi_runtime._lazy import lazily

if TYPE_CHECKING:
    from lmi_runtime.caches.cache import Cache
    from lmi_runtime.caches.decorator import cached
    from lmi_runtime.caches.model import CacheStatistics, Loaded
    from lmi_runtime.caches.second import (
        BlockingLevel,
        DynamoDBLevel,
        MemoryLevel,
        SecondLevel,
        TooLarge,
        ValkeyLevel,
    )
    from lmi_runtime.caches.shared import Codec, SharedCache, SharedCacheStatistics, Through

__all__ = [
    "BlockingLevel",
    "Cache",
    "CacheStatistics",
    "Codec",
    "DynamoDBLevel",
    "Loaded",
    "MemoryLevel",
    "SecondLevel",
    "SharedCache",
    "SharedCacheStatistics",
    "Through",
    "TooLarge",
    "ValkeyLevel",
    "cached",
]

_FROM = {
    "BlockingLevel": "second",
    "Cache": "cache",
    "CacheStatistics": "model",
    "Codec": "shared",
    "DynamoDBLevel": "second",
    "Loaded": "model",
    "MemoryLevel": "second",
    "SecondLevel": "second",
    "SharedCache": "shared",
    "SharedCacheStatistics": "shared",
    "Through": "shared",
    "TooLarge": "second",
    "ValkeyLevel": "second",
    "cached": "decorator",
}


__getattr__ = lazily(globals(), _FROM)
