"""How a run ends before everybody is done, and how those still inside get out."""

from __future__ import annotations

from typing import NoReturn

from lmi_runtime.stress.control.actors import Actor, Unwind
from lmi_runtime.stress.control.raw import RawLock
from lmi_runtime.stress.control.turns import Turns
from lmi_runtime.stress.program import RunOptions

__all__ = ["Endings"]

_UNWIND_LIMIT = 200
"""How often an actor may catch the exception that ends it."""

_PARKED_LIMIT = 100
"""Threads that cannot be ended, until a run says that there are too many."""

_parked = 0  # holder of the baton only


class Endings:
    """
    The part of a scheduler that ends runs.

    Thread safety: as the scheduler; the holder of the baton.
    """

    def __init__(self, options: RunOptions) -> None:
        self.options = options
        self.actors: list[Actor] = []
        self.turns = Turns(self.actors)
        self.running: Actor | None = None
        self.finished = RawLock()
        self.finished.acquire()
        self.aborting = False
        self.points = 0
        self.livelocked: Actor | None = None
        self.uncontrolled: list[str] = []

    def never_lived(self, actor: Actor) -> None:
        """Forget an actor whose thread could not be started."""
        actor.done = True
        self.turns.disable(actor)

    def give_back(self) -> None:
        """What actors still hold is free again: a lock may be older than the run."""
        for actor in self.actors:
            for lock in list(actor.held):
                lock.abandon()
            actor.looked_at.clear()

    def end_without(self, actor: Actor) -> None:
        """Let everybody else unwind; by the exploring thread, `actor` has not come back."""
        actor.lost = True
        actor.done = True
        self.unwind_next()

    def unwind_next(self) -> None:
        """The run is over: wake one that is still inside, or the exploring thread."""
        self.aborting = True
        for actor in self.actors:
            if actor.begin is not None:  # it has not begun, and never will
                actor.begin = None
                actor.done = True
            elif not actor.done:
                self.running = actor
                actor.baton.release()
                return
        self.running = None
        self.finished.release()

    def unwind(self, actor: Actor) -> NoReturn:
        """The run is over, and so is `actor`; again and again if it catches everything."""
        actor.unwinds += 1
        if actor.unwinds > _UNWIND_LIMIT:
            self.park(actor)
        raise Unwind

    def park(self, actor: Actor) -> NoReturn:
        """Leave the thread where it is, for ever: nothing that can be raised ends it."""
        global _parked
        _parked += 1
        if _parked > _PARKED_LIMIT:
            self.uncontrolled.append(
                f"{actor.name} catches BaseException and goes on when it is told to end. "
                f"{_parked} threads like this are left."
            )
        actor.done = True
        self.unwind_next()
        while True:
            actor.baton.acquire()

    def give_up(self, actor: Actor) -> NoReturn:
        """Too many points: livelock, if it is known how many are usual."""
        if self.options.usual_points is not None:
            self.livelock(actor)
        self.uncontrolled.append(
            f"{actor.name} was stopped after {self.points} switch points: a very long or endless "
            "loop. Raise the limit, or give it less to do."
        )
        self.aborting = True
        raise Unwind

    def livelock(self, actor: Actor) -> NoReturn:
        """Everybody goes round in circles."""
        self.livelocked = actor
        self.aborting = True
        raise Unwind
