"""`@cached`: a function whose results are kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, overload

from lmi_runtime.caches.cache import Cache
from lmi_runtime.caches.instances import Instances
from lmi_runtime.caches.keys import KeyOf, is_method, key_maker
from lmi_runtime.caches.model import Clock, Copying
from lmi_runtime.caches.partitions import Partition

__all__ = ["CacheLike", "CacheOptions", "Cached", "cached"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class CacheOptions(TypedDict, total=False):
    """What `cached` passes on to `Cache`."""

    max_size: int | None
    ttl_s: float | None
    jitter: float
    stale_s: float
    refresh_ahead: float | None
    stale_if_error_s: float
    negative_ttl_s: float
    negative_errors: tuple[type[Exception], ...]
    max_weight: float | None
    weigh: Callable[[Any], float] | None
    copy: Copying
    timeout_s: float | None
    storage: Any
    partition: Partition
    quota: int | None
    name: str | None
    clock: Clock | None


class CacheLike(Protocol):
    """What `cached` asks of a cache that it is given."""

    def get_or_load(self, key: Any, loader: Callable[[], Any], *, tags: Iterable[str] = ()) -> Any:
        """See `Cache`."""
        ...

    async def aget_or_load(
        self, key: Any, loader: Callable[[], Any], *, tags: Iterable[str] = ()
    ) -> Any:
        """See `Cache`."""
        ...

    def delete(self, key: Any) -> Any:
        """See `Cache`."""
        ...


class Cached(Protocol[P, R_co]):
    """A function with a cache; in a class it is a method like any other."""

    __wrapped__: Callable[..., Any]
    cache: Any

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Cached[P, R_co]: ...
    @overload
    def __get__(
        self: Cached[Concatenate[Any, Q], R_co], instance: object, owner: type | None = None
    ) -> Callable[Q, R_co]: ...

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result of this call; True if there was one."""
        ...

    def key_of(self, *args: P.args, **kwargs: P.kwargs) -> Hashable:
        """What the result of this call is kept under in `cache`."""
        ...


@overload
def cached(function: Callable[P, R], /) -> Cached[P, R]: ...
@overload
def cached(
    *,
    key: Callable[..., Hashable] | None = None,
    typed: bool = False,
    tags: Iterable[str] | Callable[..., Iterable[str]] = (),
    cache: CacheLike | None = None,
    **options: Unpack[CacheOptions],
) -> Callable[[Callable[P, R]], Cached[P, R]]: ...
def cached(
    function: Callable[..., Any] | None = None,
    /,
    *,
    key: Callable[..., Hashable] | None = None,
    typed: bool = False,
    tags: Iterable[str] | Callable[..., Iterable[str]] = (),
    cache: CacheLike | None = None,
    **options: Unpack[CacheOptions],
) -> Any:
    """
    Keep the results of a function, a coroutine function or a method, each loaded once for all.

    What `Cache` says about loads goes for calls here: the function runs outside the request of
    who called it, so give it what it needs as arguments. Calls that are written differently but
    mean the same have one key. A method's results are kept for each instance apart, and do not
    keep the instance alive.

    Args:
        function: The function, when used as ``@cached`` alone.
        key: Makes the key from the arguments; by default they are the key, and must be hashable.
        typed: Tell ``1``, ``1.0`` and ``True`` apart, which are equal in Python.
        tags: What ``cache.invalidate(tag=...)`` finds the results by, or a function that makes
            it from the arguments.
        cache: The cache to use, which other functions may use, too; by default a new one.
        options: As for `Cache`; not together with `cache`.

    Returns:
        The function, with the attributes `cache`, `invalidate(*args)` and `key_of(*args)`.

    Raises:
        TypeError: Options were given besides a cache, or the function is a generator.
        ConfigurationError: An option is out of range.
    """
    if cache is not None and options:
        raise TypeError(f"the cache that was given has its own {', '.join(options)}")

    def decorate(decorated: Callable[..., Any]) -> Any:
        import inspect

        if inspect.isgeneratorfunction(decorated) or inspect.isasyncgenfunction(decorated):
            raise TypeError("a generator can be used up once only: cache a function of its items")
        return _wrapper(decorated, _Calls(decorated, key, typed, tags, cache, options))

    return decorate if function is None else decorate(function)


class _Calls:
    """From a call of the function to its key, its tags and its load."""

    def __init__(
        self,
        function: Callable[..., Any],
        key: Callable[..., Hashable] | None,
        typed: bool,
        tags: Iterable[str] | Callable[..., Iterable[str]],
        cache: CacheLike | None,
        options: CacheOptions,
    ) -> None:
        named = function if hasattr(function, "__qualname__") else type(function)
        name = f"{named.__module__}.{named.__qualname__}"
        self.function = function
        self.instances = Instances(name) if key is None and is_method(function) else None
        self.own = cache is None
        options.setdefault("name", name)
        self.cache: Any = Cache(**options) if cache is None else cache
        self.key_of = self._key_of(name, key, typed)
        self._tags = tags if callable(tags) else tuple(tags)

    def _key_of(self, name: str, key: Callable[..., Hashable] | None, typed: bool) -> KeyOf:
        made = key_maker(self.function, typed=typed)
        if key is not None:
            made = functools.partial(_called, key)
        elif self.instances is not None:
            made = functools.partial(_of_instance, self.instances, made)
        # In a cache that others use as well, one function's keys are not another one's.
        return made if self.own else functools.partial(_named, name, made)

    def tags(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterable[str]:
        """What the result of a call is found by."""
        found = self._tags(*args, **kwargs) if callable(self._tags) else self._tags
        if self.instances is None:
            return found
        self.instances.forget_dead(self.cache)
        return (*found, *self.instances.tags(args[0]))

    def invalidate(self, *args: Any, **kwargs: Any) -> bool:
        """Forget the result of a call."""
        return bool(self.cache.delete(self.key_of(args, kwargs)))


def _called(key: Callable[..., Hashable], args: Any, kwargs: Mapping[str, Any]) -> Hashable:
    return key(*args, **kwargs)


def _of_instance(instances: Instances, made: KeyOf, args: Any, kwargs: Mapping[str, Any]) -> Any:
    return made((instances.of(args[0]), *args[1:]), kwargs)


def _named(name: str, made: KeyOf, args: Any, kwargs: Mapping[str, Any]) -> Hashable:
    return (name, made(args, kwargs))


def _wrapper(function: Callable[..., Any], calls: _Calls) -> Any:
    import inspect

    is_async = inspect.iscoroutinefunction(function)
    if isinstance(calls.cache, Cache):
        made = _for_tasks(function, calls) if is_async else _for_threads(function, calls)
    else:
        made = _through(function, calls, is_async=is_async)
    wrapper: Any = functools.wraps(function)(made)
    wrapper.cache = calls.cache
    wrapper.invalidate = calls.invalidate
    wrapper.key_of = lambda *args, **kwargs: calls.key_of(args, kwargs)
    return wrapper


# A hit is looked up here and not by calling the cache, because that would take as long again.


def _for_threads(function: Callable[..., Any], calls: _Calls) -> Callable[..., Any]:
    cache: Cache[Any] = calls.cache
    key_of, now = calls.key_of, cache._now

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        key = key_of(args, kwargs)
        try:
            entry = cache._entries[key]
            if now() < entry.until:
                entry.hits += 1
                return entry.value
        except KeyError:
            pass
        load = functools.partial(function, *args, **kwargs)
        return cache.get_or_load(key, load, tags=calls.tags(args, kwargs))

    return wrapper


def _for_tasks(function: Callable[..., Any], calls: _Calls) -> Callable[..., Any]:
    cache: Cache[Any] = calls.cache
    key_of, now = calls.key_of, cache._now

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        key = key_of(args, kwargs)
        try:
            entry = cache._entries[key]
            if now() < entry.until:
                entry.hits += 1
                return entry.value
        except KeyError:
            pass
        load = functools.partial(function, *args, **kwargs)
        return await cache.aget_or_load(key, load, tags=calls.tags(args, kwargs))

    return wrapper


def _through(function: Callable[..., Any], calls: _Calls, *, is_async: bool) -> Callable[..., Any]:
    ask = calls.cache.aget_or_load if is_async else calls.cache.get_or_load

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        load = functools.partial(function, *args, **kwargs)
        return ask(calls.key_of(args, kwargs), load, tags=calls.tags(args, kwargs))

    async def awrapper(*args: Any, **kwargs: Any) -> Any:
        return await wrapper(*args, **kwargs)

    return awrapper if is_async else wrapper
