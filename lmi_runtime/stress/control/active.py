"""Which run is going on, and who in it is calling."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from lmi_runtime.stress.control.actors import Actor, Unwind
from lmi_runtime.stress.control.raw import get_ident

if TYPE_CHECKING:
    from lmi_runtime.stress.control.scheduler import Scheduler

__all__ = [
    "Stage",
    "caller",
    "found",
    "lose",
    "own",
    "own_anew",
    "put_active",
    "put_stage",
    "scheduler",
    "stage",
]


class Stage:
    """
    What the exploring thread sees while it makes the state of a run, or judges it.

    It sees the run's time and chance, not the real ones: a time taken in `setup` is compared
    with times taken in the run.

    Thread safety: of the exploring thread.
    """

    def __init__(self, clock: float, seed: int) -> None:
        self.ident = get_ident()
        self.clock = clock
        self._seed = seed
        self._chance: random.Random | None = None

    @property
    def chance(self) -> random.Random:
        """What is drawn here; made when it is first needed."""
        if self._chance is None:
            self._chance = random.Random(self._seed)
        return self._chance


_stage: Stage | None = None  # exploring thread
_own: dict[Any, Any] = {}  # whoever holds the baton, else the exploring thread
_active: Scheduler | None = None  # written by the exploring thread, between runs


def scheduler() -> Scheduler | None:
    """The run that is going on."""
    return _active


def put_active(run: Scheduler | None) -> None:
    """Start or end control; exploring thread only."""
    global _active
    _active = run


def put_stage(now: Stage | None) -> None:
    """Begin or end what is seen before and after a run; exploring thread only."""
    global _stage
    _stage = now


def stage() -> Stage | None:
    """The stage, if it is the exploring thread that asks, and between runs."""
    now = _stage
    return now if now is not None and now.ident == get_ident() else None


def own_anew() -> None:
    """Forget what a run has made; exploring thread only, after it."""
    global _own
    _own = {}


def own() -> dict[Any, Any] | None:
    """What the run has made of which there is one in a process; None for who is in no run."""
    return _own if stage() is not None or caller() is not None else None


_lost: set[int] = set()  # threads that a run was ended without; they leave by themselves


def lose(ident: int) -> None:
    """Its run is over, but this thread has not come back; exploring thread only."""
    _lost.add(ident)


def found(ident: int) -> None:
    """This thread has come back, and ends."""
    _lost.discard(ident)


def caller() -> tuple[Scheduler, Actor] | None:
    """
    The run and the actor that is calling; None in a thread that is not controlled.

    Raises:
        Unwind: In a thread whose run was ended without it.
    """
    run = _active
    if run is not None:
        actor = run.running
        # Only the holder of the baton runs, so this is a check and not a search.
        if actor is not None and actor.ident == get_ident():
            return run, actor
    if _lost and get_ident() in _lost:
        raise Unwind
    return None
