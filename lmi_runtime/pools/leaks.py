"""Who has a connection: where it was lent, for whom, and how that is told."""

from __future__ import annotations

import sys
from itertools import islice
from types import CodeType, FrameType

from lmi_runtime.context import Request
from lmi_runtime.pools.members import Place

__all__ = ["caller", "lent_at", "place_of", "who"]

_FRAMES = 6


def place_of(frame: FrameType | None) -> Place:
    """The innermost frames from `frame` outwards. Instructions only: lines cost more."""
    frames: list[tuple[CodeType, int]] = []
    while frame is not None and len(frames) < _FRAMES:
        frames.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(frames)


def caller() -> FrameType:
    """The frame of whoever called the function that calls this."""
    return sys._getframe(2)


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
