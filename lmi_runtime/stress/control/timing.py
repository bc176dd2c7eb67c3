"""The clock of a run: it moves when nobody can go on, when it is let, or when it is watched."""

from __future__ import annotations

from lmi_runtime.stress.control.actors import Actor
from lmi_runtime.stress.control.endings import Endings
from lmi_runtime.stress.program import RunOptions

__all__ = ["Timing"]

_ANSWERS_LIMIT = 1_000
"""Readings of the clock in a row until it moves by itself, for loops that wait for it."""

_ANSWERS_BETWEEN = 100
"""Readings until it moves again."""

_LEAP_S = 0.001
"""How far it moves at first."""


class Timing(Endings):
    """
    The part of a scheduler that keeps time.

    Thread safety: as the scheduler; the holder of the baton.
    """

    def __init__(self, options: RunOptions) -> None:
        super().__init__(options)
        self.clock = 0.0
        self.reads = 0
        self._leap_s = _LEAP_S

    def now(self, actor: Actor | None = None) -> float:
        """Virtual seconds since the start."""
        if actor is not None:
            self.reads += 1
            if self.reads > _ANSWERS_LIMIT:
                # Ever faster, since nobody knows how long it is to wait.
                self.advance(self.clock + self._leap_s)
                self.reads = _ANSWERS_LIMIT - _ANSWERS_BETWEEN
                self._leap_s *= 2
        return self.clock

    def calm(self) -> None:
        """Somebody does something else than read the clock."""
        self._leap_s = _LEAP_S

    def advance(self, to: float) -> None:
        """Move the clock and enable everybody whose time has come."""
        self.clock = max(self.clock, to)
        self.reads = 0
        for actor in self.turns.due(self.clock):
            self.turns.waits_no_more(actor)
            actor.timed_out = True
            self.turns.enable(actor)
