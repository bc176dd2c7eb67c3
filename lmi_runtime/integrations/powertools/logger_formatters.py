"""Formatters that users wrote themselves: what of them is isolated, and what they are told."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from lmi_runtime.integrations.powertools.logger_keys import FormatterKeys
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
    mine = object()
    kind = type(formatter)
    if _is_powertools(kind) or _seen.setdefault(kind, mine) is not mine or _leaves_keys(kind):
        return
    names = [name for name, value in vars(formatter).items() if _holds_keys(kind, name, value)]
    for name in names:
        setattr(kind, name, PerScope(name, copy.copy))
    logger.warning(_DICTIONARIES if names else _UNKNOWN, _name(kind), ", ".join(names))


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


def _leaves_keys(kind: type) -> bool:
    """Whether all methods that change keys are powertools' own, or come to `log_format`."""
    if not isinstance(getattr(kind, "log_format", None), FormatterKeys):
        return False
    return all(_leaves(function) for function in _own_keepers(kind))


def _own_keepers(kind: type) -> Iterator[Callable[..., Any]]:
    for base in kind.__mro__:
        if isinstance(vars(base).get("log_format"), FormatterKeys):
            return
        yield from (vars(base)[name] for name in _KEEPERS if name in vars(base))


def _leaves(function: Callable[..., Any]) -> bool:
    code: CodeType | None = getattr(function, "__code__", None)
    if code is None:
        return False
    by_super = "__class__" in code.co_freevars and function.__name__ in code.co_names
    return by_super or "log_format" in code.co_names


def _holds_keys(kind: type, name: str, value: object) -> bool:
    return isinstance(value, dict) and name not in _NO_KEYS and not hasattr(kind, name)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
