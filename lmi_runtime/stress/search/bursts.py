"""
Runs in which one task of an event loop goes before all others, from some moment on.

Tasks that take turns need many deviations before one of them is ahead of another, each of them
worth nothing alone: too many for a search that adds one after the other. A burst is all of them
at once, and what was too much is left out when it fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lmi_runtime.stress.model import DeviationKind
from lmi_runtime.stress.program import Decision, Execution, Touched

__all__ = ["Burst", "Order", "bursts"]

_BETWEEN = 0  # two touches of the same state by others, one of them a write
_AFTER = 1  # a touch by others of what the task touches later
_ANYWHERE = 2
_READ_ONLY = 0.5  # more, where nobody is seen to write: methods that were called may do so
_LAST = 0.25  # more, to put the task off: with two tasks that is the other one's burst
_AGAIN = 3  # more, where nothing was touched since the moment before


@dataclass(frozen=True, slots=True)
class Order:
    """
    Who goes before or behind whom, from when on.

    Attributes:
        visit: The decision of the loop with which it begins.
        task: Number of the task; -1 for timers.
        last: It goes behind all others, not before them.
    """

    visit: int
    task: int
    last: bool = False


class Burst:
    """
    Follows an `Order`: the default everywhere else.

    Thread safety: never changes after it was made.
    """

    __slots__ = ("_last", "_task", "_visit")

    def __init__(self, order: Order) -> None:
        self._visit, self._task, self._last = order.visit, order.task, order.last

    def choose(
        self, kind: DeviationKind, actor: int, visit: int, options: tuple[int, ...], site: int
    ) -> int:
        """The task if it can go on, or anybody but the task."""
        if kind != "task" or visit < self._visit:
            return options[0]
        if not self._last:
            return self._task if self._task in options else options[0]
        return next((each for each in options if each not in (self._task, -1)), options[0])


def bursts(execution: Execution) -> Sequence[Order]:
    """
    The bursts worth a run, the most promising first.

    Args:
        execution: A recorded run without deviations.
    """
    places = [
        (place, each) for place, each in enumerate(execution.decisions) if each.kind == "task"
    ]
    tasks = sorted({task for _, each in places for task in each.options if task >= -1})
    scored: list[tuple[float, int, Order]] = []
    for task in tasks:
        starts = [
            (place, each) for place, each in places if task in each.options and task != each.chosen
        ]
        scored += _scored(task, starts, execution.touches, last=False)
        delays = [(place, each) for place, each in places if task == each.chosen]
        scored += _scored(task, delays, execution.touches, last=True)
    scored.sort(key=lambda each: each[:2])
    return [order for _, _, order in scored]


def _scored(
    task: int, starts: Iterable[tuple[int, Decision]], touches: Sequence[Touched], *, last: bool
) -> Iterable[tuple[float, int, Order]]:
    seen: set[tuple[int, int]] = set()
    for place, decision in sorted(starts, reverse=True, key=lambda each: each[0]):
        before = [each for each in touches if each.decisions <= place]
        mine = sum(each.actor == task for each in before)
        state = mine, len(before) - mine
        score = _score(task, before, touches[len(before) :]) + _LAST * last
        score += _AGAIN * (state in seen)
        seen.add(state)
        yield score, place, Order(decision.visit, task, last)


def _score(task: int, before: Sequence[Touched], after: Sequence[Touched]) -> float:
    to_come = {each.where for each in after if each.actor == task}
    written = {each.where for each in (*before, *after) if each.writes}
    past = {each.where for each in before if each.actor != task} & to_come
    both = past & {each.where for each in after if each.actor != task}
    if both:
        return _BETWEEN + _READ_ONLY * (not both & written)
    if past:
        return _AFTER + _READ_ONLY * (not past & written)
    return _ANYWHERE
