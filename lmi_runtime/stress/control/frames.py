"""
Where threads are, without the harness around them.

Whoever has given the baton away may still be on its way to the place where it waits: the innermost
frames of its thread are different in every run. A thread that has not begun yet, or has ended, is
in the harness altogether.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from lmi_runtime.stress.control import raw
from lmi_runtime.stress.control.active import caller

__all__ = ["REPLACEMENTS"]

_OWN = __file__.rpartition("/")[0]


def current_frames() -> dict[int, FrameType]:
    """Stands in for `sys._current_frames`."""
    frames = raw.current_frames()
    if caller() is None:
        return frames
    return {
        ident: outside
        for ident, frame in frames.items()
        if (outside := _outside(frame)) is not None
    }


def _outside(frame: FrameType | None) -> FrameType | None:
    while frame is not None and frame.f_code.co_filename.startswith(_OWN):
        frame = frame.f_back
    return frame


REPLACEMENTS: dict[Any, Any] = {sys._current_frames: current_frames}
"""The interpreter's own function: what stands in for it."""
