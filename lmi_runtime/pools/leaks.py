"""Who has a connection: where it was lent, for whom, and how that is told."""

from __future__ import annotations

from itertools import islice
from types import CodeType, FrameType

from lmi_runtime.context import Request
from lmi_runtime.pools.members import Place

__all__ = ["lent_at", "place_of", "who"]

_DEEPEST = 16


def place_of(frame: FrameType | None) -> Place:
    """
    All frames from `frame` outwards, to some depth.

    Instructions only: to look up lines costs more, and is seldom asked for.
    """
    frames: list[tuple[CodeType, int]] = []
    while frame is not None and len(frames) < _DEEPEST:
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
