"""Who could go on, and who is to by a fixed schedule."""

from __future__ import annotations

from collections.abc import Mapping

from lmi_runtime.stress.control.actors import Actor
from lmi_runtime.stress.program import Chooser

__all__ = ["Turns", "by_actor"]

_NAPS_LIMIT = 2
"""Sleeps in a row of an actor, with nobody else running, until it is others' turn."""


class Turns:
    """
    The actors that are ready, by number, and those that time would make ready.

    Thread safety: as the scheduler; the holder of the baton.
    """

    __slots__ = ("_actors", "_choices", "_line", "ready", "timers")

    def __init__(self, actors: list[Actor]) -> None:
        self._actors = actors
        self.ready: list[Actor] = []
        self.timers = 0
        """How many wait for a time that may come at any moment."""
        self._line: list[Actor] = []
        self._choices: tuple[Actor, tuple[int, ...]] | None = None

    def enable(self, actor: Actor) -> None:
        """`actor` can go on."""
        if actor.done or actor in self.ready:
            return
        self.ready.append(actor)
        self.ready.sort(key=_number)
        self._choices = None

    def disable(self, actor: Actor) -> None:
        """`actor` cannot go on, or is to be last."""
        if actor in self.ready:
            self.ready.remove(actor)
        self._choices = None

    def line_up(self, actors: list[Actor]) -> None:
        """Let each of `actors` begin only when the one before it has ended."""
        self._line = actors[1:]
        for actor in self._line:
            self.disable(actor)

    def ended(self, actor: Actor) -> None:
        """Let the next in line begin."""
        self.disable(actor)
        if self._line and actor.is_participant:
            self.enable(self._line.pop(0))

    def waits(self, actor: Actor) -> None:
        """`actor.waiting` was set."""
        if actor.waiting is not None and actor.waiting.is_timer:
            self.timers += 1
        self.disable(actor)

    def waits_no_more(self, actor: Actor) -> None:
        """Clear `actor.waiting`."""
        if actor.waiting is not None and actor.waiting.is_timer:
            self.timers -= 1
        actor.waiting = None

    def moved(self) -> None:
        """Somebody else runs, or the clock has moved."""
        self._choices = None

    def next_timer(self) -> Actor | None:
        """
        Whose time would come first, while there are timers: it may come at any moment.

        A time-out that comes before the timer does comes first here, too.
        """
        if not self.timers:
            return None
        return min(
            (a for a in self._actors if a.waiting is not None and a.deadline is not None),
            key=_deadline,
        )

    def due(self, clock: float) -> list[Actor]:
        """Whose time has come, the earliest first."""
        actors = [
            actor
            for actor in self._actors
            if actor.waiting is not None and actor.deadline is not None and actor.deadline <= clock
        ]
        return sorted(actors, key=_deadline)

    def choices(self, actor: Actor) -> tuple[int, ...]:
        """`actor`, which runs, and who could run instead."""
        known = self._choices
        if known is not None and known[0] is actor:
            return known[1]
        numbers = [actor.number]
        numbers += [other.number for other in self.ready if other is not actor]
        timer = self.next_timer()
        if timer is not None:
            numbers.append(timer.number)
        choices = tuple(numbers)
        self._choices = actor, choices
        return choices

    def candidates(self, after: Actor | None) -> list[Actor]:
        """Who could go on where somebody cannot; in turn, so that nobody starves."""
        ready = list(self.ready)
        if after is not None:
            ready.sort(key=lambda other: (other.number <= after.number, other.number))
        timer = self.next_timer()
        # Who has slept again and again alone lets others go first: it may wait for them.
        if timer is not None and not (ready and timer.naps > _NAPS_LIMIT):
            ready.append(timer)
        return ready


def _number(actor: Actor) -> int:
    return actor.number


def _deadline(actor: Actor) -> tuple[float, int]:
    assert actor.deadline is not None
    return actor.deadline, actor.number


def by_actor(chooser: Chooser) -> dict[int, dict[int, int]] | None:
    """The preemptions of a fixed schedule, to be looked up without a call at every point."""
    fixed: Mapping[tuple[int, int], int] | None = getattr(chooser, "preempts", None)
    if fixed is None:
        return None
    plans: dict[int, dict[int, int]] = {}
    for (actor, visit), to in fixed.items():
        plans.setdefault(actor, {})[visit] = to
    return plans
