"""Values of parameters, as each caller's own, and what was asked for, as a key."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, Final, TypeVar

__all__ = ["frozen", "own", "shared_values"]

logger = logging.getLogger("lmi_runtime.integrations")

T = TypeVar("T")

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


def frozen(value: Any) -> Any:
    """The same for equal arguments, and hashable; as exact as their `repr` where need be."""
    if isinstance(value, dict):
        return frozenset((key, frozen(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return (type(value), value)
