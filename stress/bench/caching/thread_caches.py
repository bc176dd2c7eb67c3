"""Caches for threads: how fast each gives what it has, and functions that each keeps results of."""

from __future__ import annotations

import functools
import importlib
import tempfile
import threading
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["KEYS", "THREAD_FUNCTIONS", "THREAD_HITS", "Function", "Spin"]

Spin = Callable[[], object]
"""Gets each of `KEYS` once."""
Function = Callable[[int], Any]

KEYS = range(1000)
TTL_S = 600.0
SIZE = 2 * len(KEYS)


def _value(key: int) -> str:
    return str(key)


def _spin_through(call: Function) -> Spin:
    """Call it with each key; one that keeps results has them afterwards."""

    def spin() -> None:
        for key in KEYS:
            call(key)

    return spin


# ------------------------------------------------------------------------- keeping results


def _ours(function: Function) -> Function:
    from lmi_runtime.caches import Cache

    cache: Cache[Any] = Cache(SIZE, TTL_S)
    return lambda key: cache.get_or_load(key, functools.partial(function, key))


def _ours_decorated(function: Function) -> Function:
    from lmi_runtime.caches import cached

    return cached(max_size=SIZE, ttl_s=TTL_S)(function)


def _cachetools_lock(function: Function) -> Function:
    from cachetools import TTLCache, cached

    return cached(TTLCache(SIZE, TTL_S), lock=threading.Lock())(function)


def _cachetools_condition(function: Function) -> Function:
    from cachetools import TTLCache, cached

    return cached(TTLCache(SIZE, TTL_S), condition=threading.Condition())(function)


def _cachebox(function: Function) -> Function:
    import cachebox

    return cachebox.cached(cachebox.TTLCache(SIZE, TTL_S))(function)


def _lru_cache(function: Function) -> Function:
    return functools.lru_cache(SIZE)(function)


def _disk() -> Any:
    diskcache: Any = importlib.import_module("diskcache")

    # Removed when the interpreter ends in order, as processes that measure do not.
    return diskcache.Cache(tempfile.mkdtemp(prefix="lmi-bench-"))


def _diskcache_memoize(function: Function) -> Function:
    kept: Function = _disk().memoize(expire=TTL_S)(function)
    return kept


def _diskcache_stampede(function: Function) -> Function:
    diskcache: Any = importlib.import_module("diskcache")

    kept: Function = diskcache.memoize_stampede(_disk(), TTL_S)(function)
    return kept


def _diskcache_barrier(function: Function) -> Function:
    diskcache: Any = importlib.import_module("diskcache")

    cache = _disk()
    guarded: Function = diskcache.barrier(cache, diskcache.Lock)(
        cache.memoize(expire=TTL_S)(function)
    )
    return guarded


THREAD_FUNCTIONS: dict[str, Callable[[Function], Function]] = {
    "lmi_runtime": _ours,
    "lmi_runtime @cached": _ours_decorated,
    "cachetools @cached(lock)": _cachetools_lock,
    "cachetools @cached(condition)": _cachetools_condition,
    "cachebox @cached": _cachebox,
    "functools.lru_cache": _lru_cache,
    "diskcache memoize": _diskcache_memoize,
    "diskcache memoize_stampede": _diskcache_stampede,
    "diskcache barrier": _diskcache_barrier,
}
"""By name: what keeps the results of a function with one argument."""


# ------------------------------------------------------------------------- hits


def _our_load() -> Spin:
    from lmi_runtime.caches import Cache

    cache: Cache[str] = Cache(SIZE, TTL_S)

    def load() -> str:
        return "value"

    def spin() -> None:
        get_or_load = cache.get_or_load
        for key in KEYS:
            get_or_load(key, load)

    return spin


def _our_get() -> Spin:
    from lmi_runtime.caches import Cache

    cache: Cache[str] = Cache(SIZE, TTL_S)
    for key in KEYS:
        cache.set(key, _value(key))
    return _spin_through(cache.get)


def _cachetools_get() -> Spin:
    from cachetools import TTLCache

    lock = threading.Lock()
    cache: Any = TTLCache(SIZE, TTL_S)
    _fill(cache, KEYS)

    def spin() -> None:
        for key in KEYS:
            with lock:
                cache[key]

    return spin


def _cachebox_get() -> Spin:
    import cachebox

    cache: Any = cachebox.TTLCache(SIZE, TTL_S)
    _fill(cache, KEYS)
    return _spin_through(cache.get)


def _diskcache_get() -> Spin:
    cache = _disk()
    _fill(cache, KEYS)
    return _spin_through(cache.get)


def _dict_get() -> Spin:
    held: dict[int, str] = {}
    _fill(held, KEYS)
    return _spin_through(held.get)


def _fill(cache: Any, keys: Iterable[int]) -> None:
    for key in keys:
        cache[key] = _value(key)


def _calls(name: str) -> Callable[[], Spin]:
    return lambda: _spin_through(THREAD_FUNCTIONS[name](_value))


THREAD_HITS: dict[str, Callable[[], Spin]] = {
    "lmi_runtime": _our_load,
    "lmi_runtime get": _our_get,
    "lmi_runtime @cached": _calls("lmi_runtime @cached"),
    "cachetools TTLCache + Lock": _cachetools_get,
    "cachetools @cached(lock)": _calls("cachetools @cached(lock)"),
    "cachetools @cached(condition)": _calls("cachetools @cached(condition)"),
    "cachebox TTLCache": _cachebox_get,
    "cachebox @cached": _calls("cachebox @cached"),
    "diskcache": _diskcache_get,
    "functools.lru_cache": _calls("functools.lru_cache"),
    "dict": _dict_get,
}
"""By name: what makes a cache, and a call that gets each of `KEYS`."""
