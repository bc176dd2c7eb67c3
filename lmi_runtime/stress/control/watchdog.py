"""Sees in real time whether a run still moves, and gives up those that do not come back."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from lmi_runtime.stress.control import raw
from lmi_runtime.stress.control.active import lose
from lmi_runtime.stress.control.actors import Actor

if TYPE_CHECKING:
    from lmi_runtime.stress.control.scheduler import Scheduler

__all__ = ["Watchdog"]

_GRACE_S = 0.2
"""How long a run that was told to end may take until somebody else in it counts as lost, too."""


class Watchdog:
    """
    Names what has not given a sign of life, and ends the run without it.

    Args:
        patience_s: Real seconds without a sign of life.
        wants: Whether code is the user's.

    Thread safety: of the exploring thread.
    """

    def __init__(self, patience_s: float, wants: Callable[[CodeType], bool]) -> None:
        self._patience_s = patience_s
        self._wants = wants
        self._seen: tuple[int, int, int] = (-1, -1, -1)
        self._since = raw.monotonic()

    def __call__(self, run: Scheduler) -> bool:
        """Look; True when the run was given up."""
        seen = (run.points, run.progress, len(run.decisions))
        now = raw.monotonic()
        if seen != self._seen:
            self._seen, self._since = seen, now
            return False
        if now - self._since < self._patience_s:
            return False
        self._give_up(run)
        return True

    def _give_up(self, run: Scheduler) -> None:
        run.aborting = True
        while True:
            actor = run.running
            if actor is None or run.finished.acquire(timeout=_GRACE_S):
                return
            if run.running is not actor:
                continue
            run.uncontrolled.append(
                f"{actor.name} has given no sign of life for {self._patience_s:g} s: "
                f"{_where(actor, self._wants)}. It waits for something outside, or computes for "
                "very long; its thread goes on until it comes back, and ends then."
            )
            lose(actor.ident)
            run.end_without(actor)


def _where(actor: Actor, wants: Callable[[CodeType], bool]) -> str:
    """The user's line, and what it is in if that is somebody else's."""
    last = sys._current_frames().get(actor.ident)
    if last is None:
        return "its thread is gone"
    frame: FrameType | None = last
    while frame is not None and not wants(frame.f_code):
        frame = frame.f_back
    if frame is None:
        return f"last seen in {_place(last)}"
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    inside = "" if frame is last else f", inside {_place(last)}"
    return f"last seen in {_place(frame)} `{line}`{inside}"


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_qualname} at {frame.f_code.co_filename}:{frame.f_lineno}"
