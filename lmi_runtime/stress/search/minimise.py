"""Make a failing schedule smaller, whoever found it."""

from __future__ import annotations

from collections.abc import Callable

from lmi_runtime.stress.model import Deviation, Schedule

__all__ = ["cost", "minimise"]

Fails = Callable[[Schedule], Schedule | None]
"""Runs along a schedule: the deviations taken if it still fails alike, else None."""


def cost(schedule: Schedule) -> int:
    """How many preemptions (and other deviations that count) it has."""
    return sum(each.cost for each in schedule)


def minimise(schedule: Schedule, fails: Fails) -> Schedule:
    """
    The smallest failing schedule to be had by leaving deviations out and by moving them.

    First leaves out halves, quarters, and so on down to single deviations, until no single one
    can be left out; then moves each as early as it will go, for a canonical form.

    Args:
        schedule: One that fails.
        fails: See `Fails`. An answer may be shorter than what was asked for: deviations that
            could not be taken are dropped.
    """
    current = _drop(schedule, fails)
    for place in range(len(current)):
        if place < len(current):
            current = _move_earlier(current, place, fails)
    return current


def _smaller(new: Schedule, old: Schedule) -> bool:
    return (cost(new), len(new)) < (cost(old), len(old))


def _drop(schedule: Schedule, fails: Fails) -> Schedule:
    current, chunk = schedule, max(1, len(schedule) // 2)
    while current:
        place, dropped = 0, False
        while place < len(current):
            taken = fails(current[:place] + current[place + chunk :])
            if taken is not None and _smaller(taken, current):
                current, dropped = taken, True
            else:
                place += chunk
        if chunk == 1 and not dropped:
            break
        chunk = max(1, min(chunk // 2, len(current)))
    return current


def _move_earlier(schedule: Schedule, place: int, fails: Fails) -> Schedule:
    """Halve the visit of the deviation at `place` towards that of the one before it."""
    current, low = schedule, 0
    while place < len(current) and low < current[place].visit:
        at = current[place]
        visit = (low + at.visit) // 2
        moved = Deviation(at.kind, at.actor, visit, at.to)
        taken = fails((*current[:place], moved, *current[place + 1 :]))
        if taken is not None and len(taken) == len(current) and moved in taken:
            current = taken
        else:
            low = visit + 1
    return current
