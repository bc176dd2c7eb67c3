"""What tells one client from another: the arguments it is made with, compared by value."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from lmi_runtime import _sync

__all__ = ["config_key", "options_key"]

_known = _sync.ProcessWide[WeakKeyDictionary[Any, Hashable]](WeakKeyDictionary)
"""Of each `Config` that was seen; entries are set in one atomic step."""


def config_key(config: Any) -> Hashable:
    """
    Equal for configs that say the same.

    By value: a `Config` that is made in the handler is another object for each request, and would
    be another client, with connections of its own, for each. Configs are taken to be constant.
    """
    if config is None:
        return None
    known = _known()
    key = known.get(config)
    if key is None:
        key = known[config] = _frozen(vars(config))
    return key


def options_key(options: Mapping[str, Any]) -> Hashable:
    """
    Equal for the same keyword arguments.

    Raises:
        TypeError: One of them cannot be hashed.
    """
    return _frozen(options)


def _frozen(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return frozenset((name, _frozen(each)) for name, each in value.items())
    if isinstance(value, list | tuple):
        return tuple(_frozen(each) for each in value)
    hash(value)
    made: Hashable = value
    return made
