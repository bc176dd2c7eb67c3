"""
Parameters: one fetch for all who ask at once, values that are nobody else's, and a way off loops.

    from aws_lambda_powertools.utilities.parameters import get_parameter
    from lmi_runtime.integrations.powertools.parameters import off_loop

    async def handler(event, context):
        url = await off_loop(get_parameter, "/shop/url", max_age=300)
"""

from __future__ import annotations

import copy
import functools
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from types import ModuleType
from typing import Any, Final, TypeVar

from lmi_runtime import _sync
from lmi_runtime.integrations.calls import in_thread
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.fetches import fetches

__all__ = [
    "off_loop",
    "own",
    "own_tokens",
    "share_app_config_provider",
    "share_batches",
    "share_default_providers",
    "share_fetches",
    "share_secrets",
    "shared_values",
]

logger = logging.getLogger("lmi_runtime.integrations")

T = TypeVar("T")

_PACKAGE: Final = "aws_lambda_powertools.utilities.parameters"


# Off event loops.


class _Missing(BaseException):
    """It is not in the cache; nothing has been done. Not an `Exception`: nobody may catch it."""


_must_be_cached: ContextVar[bool] = ContextVar("lmi_parameters_cached_only", default=False)

_READING: Final = frozenset(
    {
        "get",
        "get_app_config",
        "get_multiple",
        "get_parameter",
        "get_parameters",
        "get_parameters_by_name",
        "get_secret",
        "get_secrets_by_name",
    }
)


async def off_loop(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """
    Call a function that gets parameters, without blocking the event loop.

    A value that is in powertools' cache is returned at once. For any other the function is called
    in a thread, which serves the same request; as many callers as ask at once share one fetch.

    Args:
        function: ``get_parameter``, ``get_secret`` and their like, the methods of providers by
            the same names, or another function that blocks; such a one always gets a thread.
        args: What it takes.
        kwargs: What it takes by name.

    Returns:
        What the function returns.

    Raises:
        GetParameterError: As the function does; so are all its other errors.

    Thread safety: from any task. A cancelled caller takes nothing from the others.
    """
    if _only_reads(function):
        token = _must_be_cached.set(True)
        try:
            return function(*args, **kwargs)
        except _Missing:
            pass
        finally:
            _must_be_cached.reset(token)
    return await in_thread(function, *args, **kwargs)


def _only_reads(function: Callable[..., Any]) -> bool:
    """Whether it tells, and does nothing else, when a value is not in the cache."""
    base = sys.modules.get(f"{_PACKAGE}.base")
    if base is None or getattr(function, "__name__", None) not in _READING:
        return False
    if not hasattr(base.BaseProvider.get, "tells_what_is_missing"):
        return False
    its_own = str(getattr(function, "__module__", "")).startswith(f"{_PACKAGE}.")
    return its_own and isinstance(getattr(function, "__self__", None), base.BaseProvider | None)


def _blocks() -> None:
    """To be called before anything that is slow."""
    if _must_be_cached.get():
        raise _Missing


# Values.

_CANNOT_CHANGE: Final = frozenset({bool, bytes, Decimal, float, int, str, type(None)})
_may_share: ContextVar[bool] = ContextVar("lmi_parameters_shared", default=False)
_told: dict[type, object] = {}
"""Classes whose values cannot be copied; changed by dict.setdefault only."""


@contextmanager
def shared_values() -> Iterator[None]:
    """In the block, values are handed out as they are cached: nobody there changes them."""
    token = _may_share.set(True)
    try:
        yield
    finally:
        _may_share.reset(token)


def own(value: T) -> T:
    """The value, as the caller's own: what one request does to it is not seen by others."""
    if type(value) in _CANNOT_CHANGE or _may_share.get():
        return value
    try:
        return copy.deepcopy(value)
    except Exception as error:
        kind, mine = type(value), object()
        if _told.setdefault(kind, mine) is mine:
            logger.warning(
                "A parameter of type %s.%s cannot be copied (%s): requests share the object; have "
                "the provider return something that can be, or change it nowhere.",
                kind.__module__,
                kind.__qualname__,
                error,
            )
        return value


def _frozen(value: Any) -> Any:
    """The same for equal arguments, and hashable; as exact as their `repr` where need be."""
    if isinstance(value, dict):
        return frozenset((key, _frozen(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return (type(value), value)


def _is_shared(max_age: Any, force_fetch: bool) -> bool:
    """Whether a value that was asked for a moment earlier will do."""
    return not force_fetch and (max_age is None or max_age > 0)


# Providers.

_seen: ContextVar[tuple[Any, Any, Any]] = ContextVar(
    "lmi_parameters_seen", default=(None, None, None)
)
"""Provider, key and entry that the calling code has just been told to be there."""


def share_fetches(module: ModuleType, swaps: Swaps) -> None:
    """What every provider does."""
    base = swaps.attribute(module, "BaseProvider")
    swaps.attribute(module, "datetime")
    get = swaps.function(base, "get", "self, name, max_age, transform, force_fetch, **sdk_options")
    get_multiple = swaps.function(
        base,
        "get_multiple",
        "self, path, max_age, transform, raise_on_transform_error, force_fetch, **sdk_options",
    )
    has = swaps.function(base, "has_not_expired_in_cache", "self, key")
    fetch_from_cache = swaps.function(base, "fetch_from_cache", "self, key")
    add = swaps.function(base, "add_to_cache", "self, key, value, max_age")
    clear = swaps.function(base, "clear_cache", "self")
    swaps.function(base, "_build_cache_key", "self, name, transform, is_nested")

    @functools.wraps(has)
    def has_not_expired_in_cache(self: Any, key: Any) -> bool:
        entry = self.store.get(key)
        if entry is None or entry.ttl < module.datetime.now():
            return False
        _seen.set((self, key, entry))
        return True

    @functools.wraps(fetch_from_cache)
    def fetch_seen(self: Any, key: Any) -> Any:
        # Others may have emptied the cache since.
        provider, seen, entry = _seen.get()
        if provider is self and seen == key:
            _seen.set((None, None, None))
            return entry.value
        return fetch_from_cache(self, key)

    @functools.wraps(add)
    def add_to_cache(self: Any, key: Any, value: Any, max_age: Any) -> None:
        with fetches().caching(self) as is_allowed:
            if is_allowed:
                add(self, key=key, value=value, max_age=max_age)

    @functools.wraps(clear)
    def clear_cache(self: Any) -> None:
        with fetches().outdating(self):
            clear(self)

    @functools.wraps(get)
    def got(
        self: Any,
        name: Any,
        max_age: Any = None,
        transform: Any = None,
        force_fetch: bool = False,
        **sdk_options: Any,
    ) -> Any:
        key = self._build_cache_key(name=name, transform=transform)
        if not force_fetch and self.has_not_expired_in_cache(key):
            return own(self.fetch_from_cache(key))
        _blocks()
        fetch = functools.partial(get, self, name, max_age, transform, force_fetch, **sdk_options)
        if not _is_shared(max_age, force_fetch):
            return own(fetch())
        return own(fetches().share(self, ("get", key, _frozen(sdk_options)), fetch))

    @functools.wraps(get_multiple)
    def got_multiple(
        self: Any,
        path: Any,
        max_age: Any = None,
        transform: Any = None,
        raise_on_transform_error: bool = False,
        force_fetch: bool = False,
        **sdk_options: Any,
    ) -> Any:
        key = self._build_cache_key(name=path, transform=transform, is_nested=True)
        if not force_fetch and self.has_not_expired_in_cache(key):
            return own(self.fetch_from_cache(key))
        _blocks()
        options = (max_age, transform, raise_on_transform_error, force_fetch)
        fetch = functools.partial(get_multiple, self, path, *options, **sdk_options)
        if not _is_shared(max_age, force_fetch):
            return own(fetch())
        asked = ("get_multiple", key, raise_on_transform_error, _frozen(sdk_options))
        return own(fetches().share(self, asked, fetch))

    got.tells_what_is_missing = True  # type: ignore[attr-defined]
    swaps.put(base, "has_not_expired_in_cache", has_not_expired_in_cache)
    swaps.put(base, "fetch_from_cache", fetch_seen)
    swaps.put(base, "add_to_cache", add_to_cache)
    swaps.put(base, "clear_cache", clear_cache)
    swaps.put(base, "get", got)
    swaps.put(base, "get_multiple", got_multiple)


def share_batches(module: ModuleType, swaps: Swaps) -> None:
    """What providers of the Parameter Store do beside."""
    ssm = swaps.attribute(module, "SSMProvider")
    by_name = swaps.function(
        ssm,
        "get_parameters_by_name",
        "self, parameters, transform, decrypt, max_age, raise_on_error",
    )
    swaps.function(ssm, "_get_parameters_by_name_from_cache", "self, batch")
    in_chunks = swaps.function(
        ssm, "_get_parameters_by_name_in_chunks", "self, batch, cache, raise_on_error, decrypt"
    )
    put = swaps.function(ssm, "set", "self, name, value")

    def from_cache(self: Any, batch: dict[str, Any]) -> dict[str, Any]:
        found = {}
        for name, options in batch.items():
            key = (name, options["transform"])
            if self.has_not_expired_in_cache(key):
                found[name] = self.fetch_from_cache(key)
        return found

    @functools.wraps(in_chunks)
    def fetched(self: Any, *args: Any, **kwargs: Any) -> Any:
        _blocks()
        return in_chunks(self, *args, **kwargs)

    @functools.wraps(by_name)
    def got(
        self: Any,
        parameters: dict[str, Any],
        transform: Any = None,
        decrypt: Any = None,
        max_age: Any = None,
        raise_on_error: bool = True,
    ) -> Any:
        # It fills in the options that it is given, which may be a constant of the module.
        parameters = {name: dict(options or {}) for name, options in parameters.items()}
        options = (transform, decrypt, max_age, raise_on_error)
        asked = ("get_parameters_by_name", _frozen(parameters), options)
        fetch = functools.partial(by_name, self, parameters, *options)
        if _must_be_cached.get() or not _is_shared(max_age, False):
            return own(fetch())
        return own(fetches().share(self, asked, fetch))

    swaps.put(ssm, "get_parameters_by_name", got)
    swaps.put(ssm, "_get_parameters_by_name_from_cache", from_cache)
    swaps.put(ssm, "_get_parameters_by_name_in_chunks", fetched)
    swaps.put(ssm, "set", _slow(put))


def share_secrets(module: ModuleType, swaps: Swaps) -> None:
    """What providers of secrets do in a way of their own."""
    secrets = swaps.attribute(module, "SecretsProvider")
    get_multiple = swaps.function(
        secrets,
        "get_multiple",
        "self, names, max_age, transform, raise_on_transform_error, force_fetch, **sdk_options",
    )
    fetch_them = swaps.function(secrets, "_get_multiple", "self, names, **sdk_options")
    put = swaps.function(secrets, "set", "self, name, value")

    @functools.wraps(fetch_them)
    def fetched(self: Any, names: Any, **sdk_options: Any) -> Any:
        _blocks()
        if "Filters" in sdk_options:
            # It adds to them, which may be a constant of the module.
            sdk_options["Filters"] = list(sdk_options["Filters"])
        return fetch_them(self, names, **sdk_options)

    @functools.wraps(get_multiple)
    def got(
        self: Any,
        names: Any,
        max_age: Any = None,
        transform: Any = None,
        raise_on_transform_error: bool = False,
        force_fetch: bool = False,
        **sdk_options: Any,
    ) -> Any:
        options = (max_age, transform, raise_on_transform_error, force_fetch)
        fetch = functools.partial(get_multiple, self, names, *options, **sdk_options)
        if _must_be_cached.get() or not _is_shared(max_age, force_fetch):
            return own(fetch())
        asked = ("get_secrets", _frozen(names), *options, _frozen(sdk_options))
        return own(fetches().share(self, asked, fetch))

    swaps.put(secrets, "get_multiple", got)
    swaps.put(secrets, "_get_multiple", fetched)
    swaps.put(secrets, "set", _slow(put))


def _slow(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def slow(*args: Any, **kwargs: Any) -> Any:
        _blocks()
        return function(*args, **kwargs)

    return slow


def own_tokens(module: ModuleType, swaps: Swaps) -> None:
    """AppConfig takes each token once: who polls a configuration waits for the one before."""
    provider = swaps.attribute(module, "AppConfigProvider")
    fetch = swaps.function(provider, "_get", "self, name, **sdk_options")

    @functools.wraps(fetch)
    def fetched(self: Any, name: str, **sdk_options: Any) -> Any:
        locks = self.__dict__.setdefault("_lmi_locks", {})
        with locks.setdefault(name, _sync.Lock()):
            return fetch(self, name, **sdk_options)

    swaps.put(provider, "_get", fetched)


# The providers that are made when they are first needed.

_MADE_BY: Final = {"ssm": ("ssm", "SSMProvider"), "secrets": ("secrets", "SecretsProvider")}


class _Providers(dict[str, Any]):
    """
    Powertools' default providers, of which there is one each, for as long as anybody asks.

    Its functions ask whether a provider is there and then for it, by two steps between which
    another thread may have removed it: they are given what they were told to be there.

    Thread safety: from any thread.
    """

    def __init__(self, providers: dict[str, Any]) -> None:
        super().__init__(providers)
        self._lock = _sync.RLock()
        self._told: ContextVar[dict[str, Any]] = ContextVar("lmi_default_providers")

    def __contains__(self, name: object) -> bool:
        found = self.get(name)  # type: ignore[call-overload]
        if found is None:
            _blocks()
            found = self._made(name)
        if found is not None:
            self._told.set({str(name): found})
        return found is not None

    def __setitem__(self, name: str, provider: Any) -> None:
        self._told.set({name: provider})
        super().__setitem__(name, provider)

    def __missing__(self, name: str) -> Any:
        return self._told.get({})[name]

    def _made(self, name: object) -> Any:
        """A new one, if how to make it is known."""
        room, kind = _MADE_BY.get(str(name), ("", ""))
        module = sys.modules.get(f"{_PACKAGE}.{room}")
        if module is None:
            return None
        with self._lock:
            found = self.get(str(name))
            if found is None:
                found = getattr(module, kind)()
                super().__setitem__(str(name), found)
            return found


def share_default_providers(module: ModuleType, swaps: Swaps) -> None:
    """One default provider for all threads that need the first."""
    original = swaps.attribute(module, "DEFAULT_PROVIDERS")
    providers = _Providers(original)
    for name, each in list(sys.modules.items()):
        if name.startswith(_PACKAGE) and getattr(each, "DEFAULT_PROVIDERS", None) is original:
            swaps.put(each, "DEFAULT_PROVIDERS", providers)


def share_app_config_provider(module: ModuleType, swaps: Swaps) -> None:
    """The same for AppConfig's, which is made of what the first call asks for."""
    original = swaps.function(
        module, "get_app_config", "name, environment, application, **sdk_options"
    )
    swaps.attribute(module, "AppConfigProvider")
    swaps.attribute(module, "DEFAULT_PROVIDERS")
    lock = _sync.ProcessWide(lambda: _sync.RLock())

    @functools.wraps(original)
    def get_app_config(
        name: str, environment: str, application: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        providers = module.DEFAULT_PROVIDERS
        if "appconfig" not in providers:
            with lock():
                if "appconfig" not in providers:
                    providers["appconfig"] = module.AppConfigProvider(
                        environment=environment, application=application
                    )
        return original(name, environment, application, *args, **kwargs)

    swaps.put(module, "get_app_config", get_app_config)
    package = sys.modules.get(_PACKAGE)
    if getattr(package, "get_app_config", None) is original:
        swaps.put(package, "get_app_config", get_app_config)
