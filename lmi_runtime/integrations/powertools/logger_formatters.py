"""Formatters that users wrote themselves: what of them is isolated, and what they are told."""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import CodeType
from typing import Any

from lmi_runtime.integrations.scopes import PerScope

__all__ = ["look_at"]

logger = logging.getLogger("lmi_runtime.integrations")

_KEEPERS = ("append_keys", "remove_keys", "clear_state")
"""What a formatter changes its keys in."""

_NO_KEYS = frozenset({"keys_combined"})
"""Dictionaries that powertools' own formatter has, and never changes."""

_seen: dict[type, object] = {}
"""Classes that have been looked at; changed by dict.setdefault only."""


def look_at(formatter: Any) -> None:
    """
    Isolate the dictionaries of a user's own formatter, and say so once for its class.

    A formatter that leaves its keys to powertools' `LambdaPowertoolsFormatter` has none of its
    own, and needs none of this.

    Thread safety: from any thread.
    """
    kind = type(formatter)
    mine = object()
    if formatter is None or _is_powertools(kind) or _seen.setdefault(kind, mine) is not mine:
        return
    if _leaves_keys(formatter):
        return
    names = [name for name, value in vars(formatter).items() if _holds_keys(kind, name, value)]
    for name in names:
        setattr(kind, name, _OwnKeys(name, copy.copy))
    logger.warning(_DICTIONARIES if names else _UNKNOWN, _name(kind), ", ".join(names))


class _OwnKeys(PerScope):
    """A dictionary of a formatter; one that is made within a request serves the others as well."""

    def __set__(self, instance: Any, value: object) -> None:
        vars(instance).setdefault(self._name, copy.copy(value))
        super().__set__(instance, value)


_DICTIONARIES = (
    "The formatter %s keeps log keys by itself, in %s: each request gets a copy of what was in it "
    "before, and anything that it keeps elsewhere is shared by all requests. Derive it from "
    "powertools' LambdaPowertoolsFormatter and call super().append_keys() to leave keys to that."
)
_UNKNOWN = (
    "The formatter %s keeps log keys by itself, where they cannot be isolated between requests%s. "
    "Derive it from powertools' LambdaPowertoolsFormatter and call super().append_keys(), or keep "
    "its keys in a contextvars.ContextVar."
)


def _is_powertools(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "aws_lambda_powertools"


def _leaves_keys(formatter: Any) -> bool:
    """Whether all methods that change keys are powertools' own, or come to what is isolated."""
    return all(_leaves(formatter, function) for function in _own_keepers(type(formatter)))


def _own_keepers(kind: type) -> Iterator[Callable[..., Any]]:
    for base in kind.__mro__:
        if _is_powertools(base):
            return
        yield from (vars(base)[name] for name in _KEEPERS if name in vars(base))


def _leaves(formatter: Any, function: Callable[..., Any]) -> bool:
    code: CodeType | None = getattr(function, "__code__", None)
    if code is None:
        return False
    if "__class__" in code.co_freevars and function.__name__ in code.co_names:
        return True  # it calls super()
    return "log_format" in code.co_names or any(
        isinstance(value, ContextVar) for value in _named(formatter, function, code)
    )


def _named(formatter: Any, function: Any, code: CodeType) -> Iterator[object]:
    """What the function's names stand for, as far as that can be told without calling it."""
    yield from inspect.getclosurevars(function).nonlocals.values()
    for name in code.co_names:
        yield function.__globals__.get(name)
        yield inspect.getattr_static(formatter, name, None)


def _holds_keys(kind: type, name: str, value: object) -> bool:
    return isinstance(value, dict) and name not in _NO_KEYS and not hasattr(kind, name)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
