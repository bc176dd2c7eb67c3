"""Providers of parameters: one fetch for all who ask at once, and values that are nobody else's."""

from __future__ import annotations

import functools
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.fetches import fetches
from lmi_runtime.integrations.powertools.parameter_values import frozen, own
from lmi_runtime.integrations.powertools.parameters import blocks, must_be_cached

__all__ = ["own_tokens", "share_batches", "share_fetches", "share_secrets"]

_seen: ContextVar[tuple[Any, Any, Any]] = ContextVar(
    "lmi_parameters_seen", default=(None, None, None)
)
"""Provider, key and entry that the calling code has just been told to be there."""


def share_fetches(module: ModuleType, swaps: Swaps) -> None:
    """What every provider does."""
    base = swaps.attribute(module, "BaseProvider")
    swaps.fields(base, "store")
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
        blocks()
        fetch = functools.partial(get, self, name, max_age, transform, force_fetch, **sdk_options)
        if not _is_shared(max_age, force_fetch):
            return own(fetch())
        return own(fetches().share(self, ("get", key, frozen(sdk_options)), fetch))

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
        blocks()
        options = (max_age, transform, raise_on_transform_error, force_fetch)
        fetch = functools.partial(get_multiple, self, path, *options, **sdk_options)
        if not _is_shared(max_age, force_fetch):
            return own(fetch())
        asked = ("get_multiple", key, raise_on_transform_error, frozen(sdk_options))
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

    def from_cache(self: Any, batch: dict[str, Any]) -> dict[str, Any]:
        found = {}
        for name, options in batch.items():
            key = (name, options["transform"])
            if self.has_not_expired_in_cache(key):
                found[name] = self.fetch_from_cache(key)
        return found

    @functools.wraps(in_chunks)
    def fetched(self: Any, *args: Any, **kwargs: Any) -> Any:
        blocks()
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
        asked = ("get_parameters_by_name", frozen(parameters), options)
        fetch = functools.partial(by_name, self, parameters, *options)
        if must_be_cached.get() or not _is_shared(max_age, False):
            return own(fetch())
        return own(fetches().share(self, asked, fetch))

    swaps.put(ssm, "get_parameters_by_name", got)
    swaps.put(ssm, "_get_parameters_by_name_from_cache", from_cache)
    swaps.put(ssm, "_get_parameters_by_name_in_chunks", fetched)


def share_secrets(module: ModuleType, swaps: Swaps) -> None:
    """What providers of secrets do in a way of their own."""
    secrets = swaps.attribute(module, "SecretsProvider")
    get_multiple = swaps.function(
        secrets,
        "get_multiple",
        "self, names, max_age, transform, raise_on_transform_error, force_fetch, **sdk_options",
    )
    fetch_them = swaps.function(secrets, "_get_multiple", "self, names, **sdk_options")

    @functools.wraps(fetch_them)
    def fetched(self: Any, names: Any, **sdk_options: Any) -> Any:
        blocks()
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
        if must_be_cached.get() or not _is_shared(max_age, force_fetch):
            return own(fetch())
        asked = ("get_secrets", frozen(names), *options, frozen(sdk_options))
        return own(fetches().share(self, asked, fetch))

    swaps.put(secrets, "get_multiple", got)
    swaps.put(secrets, "_get_multiple", fetched)


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


def _is_shared(max_age: Any, force_fetch: bool) -> bool:
    """Whether a value that was asked for a moment earlier will do."""
    return not force_fetch and (max_age is None or max_age > 0)
