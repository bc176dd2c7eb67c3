"""Share results between invocations: one computation a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmi_runtime.caches.cache import Cache
from lmi_runtime.caches.decorator import cached
from lmi_runtime.caches.model import CacheStatistics, Loaded

if TYPE_CHECKING:
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

# Imported by who asks for them: most functions share nothing between processes, and start sooner.
_FROM = {
    "BlockingLevel": "second",
    "Codec": "shared",
    "DynamoDBLevel": "second",
    "MemoryLevel": "second",
    "SecondLevel": "second",
    "SharedCache": "shared",
    "SharedCacheStatistics": "shared",
    "Through": "shared",
    "TooLarge": "second",
    "ValkeyLevel": "second",
}


def __getattr__(name: str) -> Any:
    room = _FROM.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    thing = globals()[name] = getattr(import_module(f"{__name__}.{room}"), name)
    return thing
