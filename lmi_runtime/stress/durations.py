"""Lengths of time as people write them on a command line."""

from __future__ import annotations

import re

__all__ = ["parse_duration"]

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h)", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+", re.ASCII)


def parse_duration(text: str) -> float:
    """
    Seconds from ``60``, ``60s``, ``500ms``, ``2m`` or ``1m30s``.

    Raises:
        ValueError: It is none of these, or not above zero.
    """
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    else:
        parts = list(_PART.finditer(text))
        if not parts or "".join(part.group() for part in parts) != text:
            raise ValueError(f"{text!r} is not a time such as 60s, 2m or 1m30s")
        seconds = sum(float(part[1]) * _UNITS_S[part[2]] for part in parts)
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{text!r} is not a time above zero")
    return seconds
