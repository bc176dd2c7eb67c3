"""
Keep lines below 64 KiB: pure functions from values to JSON that fits.

A longer line stops the platform's log reader for good, and with it everything that writes to
the same pipe.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring
from typing import Any

__all__ = ["MAX_LINE_BYTES", "cut_bytes", "encode_fields", "safe_str"]

MAX_LINE_BYTES = 65_535
"""Longest line in bytes, its newline included."""

_MAX_DEPTH = 32
_MAX_FIELDS = 64
_MIN_FIELD_BYTES = 256
# Whole characters and whole escapes, as far as they go from the start.
_WHOLE = re.compile(r"(?:[^\\]|\\u[0-9a-fA-F]{4}|\\[^u])*", re.DOTALL)


def safe_str(value: object) -> str:
    """`str(value)`, or what can be said about a value whose `__str__` fails."""
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=safe_str).encode


def _encode_object(fields: Mapping[str, Any]) -> str:
    # The encoder builds itself anew on every call, which costs more than most values: texts,
    # which nearly all are, take a short cut past it.
    parts = [
        f"{encode_basestring(key)}: "
        f"{encode_basestring(value) if type(value) is str else _encode(value)}"
        for key, value in fields.items()
    ]
    return f"{{{', '.join(parts)}}}"


def encode_fields(fields: Mapping[str, Any], *, limit_bytes: int = MAX_LINE_BYTES - 1) -> bytes:
    """
    Encode `fields` as one JSON object of at most `limit_bytes` bytes.

    Never raises: what JSON cannot hold becomes text, and what does not fit is cut, the
    longest values first. A value that was cut ends by saying how long it was.
    """
    try:
        line = _to_bytes(_encode_object(fields))
    except Exception:
        fields = {safe_str(key): _plain(value, _MAX_DEPTH) for key, value in fields.items()}
        line = _to_bytes(_encode(fields))
    if len(line) <= limit_bytes:
        return line
    return _to_bytes(_encode(_fitted(fields, limit_bytes)))


def cut_bytes(line: bytes, *, limit_bytes: int = MAX_LINE_BYTES - 1) -> bytes:
    """Cut a line of text to `limit_bytes`, between characters, and say how long it was."""
    if len(line) <= limit_bytes:
        return line
    marker = _marker(len(line)).encode()
    head = line[: limit_bytes - len(marker)].decode("utf-8", "ignore")
    return head.encode() + marker


def _to_bytes(text: str) -> bytes:
    # A lone surrogate has no UTF-8; backslashreplace writes it as JSON itself would escape it.
    return text.encode("utf-8", "backslashreplace")


def _plain(value: Any, depth: int) -> Any:
    """Rebuild `value` from what JSON can hold; the depth stops cycles."""
    if depth == 0:
        return "..."
    if isinstance(value, Mapping):
        return {safe_str(key): _plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth - 1) for item in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return safe_str(value)


def _fitted(fields: Mapping[str, Any], limit_bytes: int) -> dict[str, Any]:
    if len(fields) > _MAX_FIELDS:
        fields = {key: fields[key] for key in list(fields)[:_MAX_FIELDS]}
    keys = {key: _cut_text(key, _MIN_FIELD_BYTES) for key in fields}
    literals = {key: _literal(value) for key, value in fields.items()}
    # Two quotes, colon, comma and two spaces a field; two braces around them all.
    keys_bytes = sum(len(_literal(key)) + 6 for key in keys.values())
    share = _fair_share(map(len, literals.values()), limit_bytes - keys_bytes - 2)
    return {
        keys[key]: value if len(literals[key]) <= share else _cut(value, literals[key], share)
        for key, value in fields.items()
    }


def _literal(value: Any) -> bytes:
    return _to_bytes(_encode(value))


def _fair_share(sizes: Iterable[int], room: int) -> int:
    """The largest share such that every size, capped at it, fits into `room` together."""
    left, waiting = room, sorted(sizes)
    for position, size in enumerate(waiting):
        share = left // (len(waiting) - position)
        if size > share:
            return share
        left -= size
    return room


def _cut(value: Any, literal: bytes, share: int) -> Any:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return _cut_items(value, len(literal), share)
    if isinstance(value, str):
        return _cut_text(value, share)
    return _cut_text(literal.decode("utf-8", "replace"), share)


def _cut_items(items: Iterable[str], whole_bytes: int, share: int) -> list[str]:
    """Keep a list a list: leading items as far as they fit, and the marker as the last."""
    marker = _marker(whole_bytes)
    left = share - len(_literal(marker)) - 4
    kept = []
    for item in items:
        size = len(_literal(item)) + 2
        if size > left:
            kept.append(_cut_text(item, left - 2)) if left > _MIN_FIELD_BYTES else None
            break
        kept.append(item)
        left -= size
    return [*kept, marker]


def _cut_text(text: str, share: int) -> str:
    literal = _literal(text)
    if len(literal) <= share:
        return text
    marker = _marker(len(literal) - 2)
    body = literal[1 : share - len(_literal(marker))].decode("utf-8", "ignore")
    whole = _WHOLE.match(body)
    assert whole is not None  # the pattern also matches nothing
    kept: str = json.loads(f'"{whole.group()}"', strict=False)
    return kept + marker


def _marker(whole_bytes: int) -> str:
    return f"... [cut from {whole_bytes} bytes]"
