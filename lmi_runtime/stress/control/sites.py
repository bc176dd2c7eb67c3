"""
Numbers for places at which a run can be told what to do, the same in every run of a process.
"""

from __future__ import annotations

import itertools
from types import CodeType, FrameType

from lmi_runtime.stress.model import Place

__all__ = ["place_of", "site_at", "site_at_code"]

_FIRST = 1_000_000  # the numbers below belong to analysed bytecode
_numbers = itertools.count(_FIRST)
_by_place: dict[tuple[str, str, int, int, str], int] = {}  # exploring thread and baton holder only
_by_number: dict[int, tuple[CodeType, int, str]] = {}


def site_at(frame: FrameType, what: str) -> int:
    """The number of what `frame` is doing just now."""
    code = frame.f_code
    offset = frame.f_lasti
    # Not the code itself: to hash code is to hash all of it.
    key = (code.co_filename, code.co_qualname, code.co_firstlineno, offset, what)
    number = _by_place.get(key)
    if number is None:
        return site_at_code(code, offset, frame.f_lineno, what)
    return number


def site_at_code(code: CodeType, offset: int, line: int | None, what: str = "await") -> int:
    """The number of a place in `code`."""
    key = (code.co_filename, code.co_qualname, code.co_firstlineno, offset, what)
    number = _by_place.get(key)
    if number is None:
        number = next(_numbers)
        _by_place[key] = number
        _by_number[number] = (code, line or code.co_firstlineno, what)
    return number


def place_of(number: int) -> Place | None:
    """Where the place with this number is."""
    known = _by_number.get(number)
    if known is None:
        return None
    code, line, what = known
    return Place(code.co_filename, line, code.co_qualname, label=what)
