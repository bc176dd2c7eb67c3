"""Processes that a run forks are named: nothing in them is under control."""

from __future__ import annotations

import os
import sys
from types import FrameType

from lmi_runtime.stress.control.active import caller, put_active

__all__ = ["watch_forks"]

_watched = False  # exploring thread only


def watch_forks() -> None:
    """From now on; cannot be undone, and does nothing outside runs."""
    global _watched
    if not _watched and hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before, after_in_child=_in_child)
        _watched = True


def _before() -> None:
    here = caller()
    if here is None:
        return
    run, actor = here
    frame: FrameType | None = sys._getframe(1)
    place = ""
    if frame is not None:
        place = f" at {frame.f_code.co_filename}:{frame.f_lineno}"
    run.uncontrolled.append(
        f"{actor.name} forks a process{place}: what happens in it is not under control."
    )


def _in_child() -> None:
    put_active(None)
