"""Caches for tasks: coroutine functions whose results each of them keeps."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Awaitable, Callable
from typing import Any

from stress.bench.caching.thread_caches import SIZE, TTL_S

__all__ = ["TASK_FUNCTIONS", "AsyncFunction"]

AsyncFunction = Callable[[int], Awaitable[Any]]


def _ours(function: AsyncFunction) -> AsyncFunction:
    from lmi_runtime.caches import Cache

    cache: Cache[Any] = Cache(SIZE, TTL_S)
    return lambda key: cache.aget_or_load(key, functools.partial(function, key))


def _ours_decorated(function: AsyncFunction) -> AsyncFunction:
    from lmi_runtime.caches import cached

    return cached(max_size=SIZE, ttl_s=TTL_S)(function)


def _async_lru(function: AsyncFunction) -> AsyncFunction:
    from async_lru import alru_cache

    made: Any = alru_cache(maxsize=SIZE, ttl=TTL_S)
    kept: AsyncFunction = made(function)
    return kept


def _cachebox(function: AsyncFunction) -> AsyncFunction:
    import cachebox

    return cachebox.cached(cachebox.TTLCache(SIZE, TTL_S))(function)


def _aiocache(function: AsyncFunction) -> AsyncFunction:
    aiocache: Any = importlib.import_module("aiocache")

    kept: AsyncFunction = aiocache.cached(ttl=TTL_S)(function)
    return kept


def _aiocache_stampede(function: AsyncFunction) -> AsyncFunction:
    aiocache: Any = importlib.import_module("aiocache")

    kept: AsyncFunction = aiocache.cached_stampede(lease=2, ttl=TTL_S)(function)
    return kept


TASK_FUNCTIONS: dict[str, Callable[[AsyncFunction], AsyncFunction]] = {
    "lmi_runtime": _ours,
    "lmi_runtime @cached": _ours_decorated,
    "async-lru": _async_lru,
    "cachebox @cached": _cachebox,
    "aiocache @cached": _aiocache,
    "aiocache @cached_stampede": _aiocache_stampede,
}
"""By name: what keeps the results of a coroutine function with one argument."""
