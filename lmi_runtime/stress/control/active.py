"""Which run is going on, and who in it is calling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmi_runtime.stress.control.actors import Actor
from lmi_runtime.stress.control.raw import get_ident

if TYPE_CHECKING:
    from lmi_runtime.stress.control.scheduler import Scheduler

__all__ = ["caller", "put_active", "scheduler"]

_active: Scheduler | None = None  # written by the exploring thread, between runs


def scheduler() -> Scheduler | None:
    """The run that is going on."""
    return _active


def put_active(run: Scheduler | None) -> None:
    """Start or end control; exploring thread only."""
    global _active
    _active = run


def caller() -> tuple[Scheduler, Actor] | None:
    """The run and the actor that is calling; None in a thread that is not controlled."""
    run = _active
    if run is None:
        return None
    actor = run.running
    # Only the holder of the baton runs, so this is a check and not a search.
    if actor is None or actor.ident != get_ident():
        return None
    return run, actor
