"""Who has a connection: where it was lent, for whom, and how that is told."""

from __future__ import annotations

from itertools import islice
from sys import _getframe
from types import CodeType, FrameType

from lmi_runtime.context import Request
from lmi_runtime.pools.members import Place

__all__ = ["lent_at", "place_of", "place_of_caller", "who"]

_DEEPEST = 16
_LEASES = __file__.replace("leaks.py", "lease.py")
"""`acquire` enters a lease by itself; whoever called it is of interest."""


def place_of_caller() -> Place:
    """
    The three innermost frames outside the caller's module function, at the price of a few calls.

    Instructions only: to look up lines costs more, and is seldom asked for.
    """
    inner = _getframe(2)
    middle = inner.f_back
    outer = None if middle is None else middle.f_back
    if middle is None or outer is None or inner.f_code.co_filename == _LEASES:
        return place_of(inner)
    return (
        (inner.f_code, inner.f_lasti),
        (middle.f_code, middle.f_lasti),
        (outer.f_code, outer.f_lasti),
    )


def place_of(frame: FrameType | None) -> Place:
    """All frames from `frame` outwards, to some depth."""
    frames: list[tuple[CodeType, int]] = []
    while frame is not None and len(frames) < _DEEPEST:
        if frame.f_code.co_filename != _LEASES:
            frames.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(frames)


def lent_at(place: Place) -> str:
    """Lines as in a traceback, outermost first."""
    return "\n".join(
        f'  File "{code.co_filename}", line {_line(code, instruction)}, in {code.co_qualname}'
        for code, instruction in reversed(place)
    )


def who(request: Request | None, place: Place) -> str:
    """In a few words: the request, and the innermost line."""
    owner = "no request" if request is None else f"request {request.request_id}"
    if not place:
        return owner
    code, instruction = place[0]
    return f"{owner}, {code.co_filename}:{_line(code, instruction)} in {code.co_qualname}"


def _line(code: CodeType, instruction: int) -> int:
    positions = next(islice(code.co_positions(), instruction // 2, None), None)
    return (positions[0] if positions else None) or code.co_firstlineno
