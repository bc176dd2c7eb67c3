"""
JSON text exactly as awslambdaric writes it, for values the C encoder would write otherwise.

awslambdaric encodes with simplejson, which differs from the standard library for named tuples
(objects), bytes (text), `Decimal` (its digits, unchanged) and a few subclasses. Plain values
never come here; `codec` sends them through the standard library's C encoder.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

__all__ = ["encode_exact"]

_NEVER_JSON = object()


def encode_exact(value: object, quote: Callable[[str], str]) -> str:
    """
    Encode `value` by the rules of awslambdaric's marshaller.

    Args:
        value: Anything.
        quote: Turns a string into a JSON string, such as `json.encoder.encode_basestring`.

    Raises:
        TypeError: Some part of it, or some key, has no JSON form.
        ValueError: A container is inside itself, or an int has too many digits.
        RecursionError: It is nested too deeply.
    """
    chunks: list[str] = []
    _Writer(quote, chunks.append).write(value)
    return "".join(chunks)


class _Writer:
    """One encoding under way; used by one call, never shared."""

    __slots__ = ("_emit", "_open", "_quote", "_simple")

    def __init__(self, quote: Callable[[str], str], emit: Callable[[str], object]) -> None:
        self._quote = quote
        self._emit = emit
        self._open: set[int] = set()  # ids of the containers around the current value
        self._simple: dict[type, Callable[[Any], str]] = {str: quote, **_SIMPLE}

    def write(self, value: Any) -> None:
        kind = type(value)
        simple = self._simple.get(kind)
        if simple is not None:
            self._emit(simple(value))
        elif kind is dict:
            self._inside(value, self._object, value)
        elif kind is list or kind is tuple:
            self._inside(value, self._array, value)
        else:
            self._write_unusual(value)

    def _write_unusual(self, value: Any) -> None:
        text = self._scalar(value)
        if text is not None:
            self._emit(text)
            return
        fields = _fields_of(value)
        if fields is not _NEVER_JSON:
            self._inside(value, self._object, fields)
        elif isinstance(value, (list, tuple)):
            self._inside(value, self._array, value)
        elif isinstance(value, dict):
            self._inside(value, self._object, value)
        else:
            raise TypeError(f"Object of type {value.__class__.__name__} is not JSON serializable")

    def _scalar(self, value: Any) -> str | None:
        # The order is simplejson's: a named tuple that is also text is text.
        if isinstance(value, str):
            return self._quote(value)
        if isinstance(value, (int, float)):
            return _number(value)
        if isinstance(value, bytes):
            return self._quote(str(value, "utf-8"))
        if isinstance(value, Decimal):
            return _decimal(value)
        return _raw_json(value)

    def _inside(self, owner: Any, write: Callable[[Any], None], content: Any) -> None:
        marker = id(owner)
        if marker in self._open:
            raise ValueError("Circular reference detected")
        self._open.add(marker)
        write(content)
        self._open.discard(marker)

    def _array(self, items: Any) -> None:
        separator = "["
        if items:
            for item in items:
                self._emit(separator)
                self.write(item)
                separator = ", "
        self._emit("[]" if separator == "[" else "]")

    def _object(self, fields: dict[Any, Any]) -> None:
        separator = "{"
        if dict.__len__(fields):
            for key, value in fields.items():
                self._emit(f"{separator}{self._quote(_key(key))}: ")
                self.write(value)
                separator = ", "
        self._emit("{}" if separator == "{" else "}")


def _number(value: Any) -> str:
    if isinstance(value, int):
        # A subclass is reduced to its number first: an IntEnum has a str() of its own.
        return _boolean(value) if isinstance(value, bool) else str(int(value))
    # The plain float inside, whatever a subclass makes of its comparisons.
    plain = float.__pos__(value)
    if math.isfinite(plain):
        return float.__repr__(float(value))
    if plain != plain:
        return "NaN"
    return "Infinity" if plain > 0 else "-Infinity"


def _decimal(value: Decimal) -> str:
    return "NaN" if value.is_nan() else str(value)


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _null(value: None) -> str:
    return "null"


_SIMPLE: dict[type, Callable[[Any], str]] = {
    int: int.__repr__,
    bool: _boolean,
    float: _number,
    type(None): _null,
    Decimal: _decimal,
}
"""What most values are exactly; subclasses take the longer way."""


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return str(key, "utf-8")
    if key is None:
        return "null"
    if isinstance(key, (int, float)):
        return _number(key)
    raise TypeError(f"keys must be str, int, float, bool or None, not {key.__class__.__name__}")


def _fields_of(value: Any) -> Any:
    """What `_asdict()` makes of a named tuple or whatever else has that method."""
    method = getattr(value, "_asdict", None)
    if not callable(method):
        return _NEVER_JSON
    try:
        fields = method()
    except TypeError:
        return _NEVER_JSON  # a class and not an instance, most likely
    if not isinstance(fields, dict):
        raise TypeError(f"_asdict() must return a dict, not {type(fields).__name__}")
    return fields


def _raw_json(value: Any) -> str | None:
    # Only who imported simplejson can hold one of these; it is no dependency of ours.
    module = sys.modules.get("simplejson.raw_json")
    if module is not None and isinstance(value, module.RawJSON):
        text: str = value.encoded_json
        return text
    return None
