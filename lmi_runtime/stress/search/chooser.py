"""Who goes on at each decision of a run: as written down, by priority, or by chance."""

from __future__ import annotations

from random import Random

from lmi_runtime.stress.model import Deviation, DeviationKind, Schedule

__all__ = ["Pct", "RandomWalk", "Scripted"]


class Scripted:
    """
    Follows a schedule: the default everywhere except where the schedule says otherwise.

    The two dicts are public so that an engine may look a decision up itself instead of calling
    `choose`. A target that cannot go on at that moment is ignored.

    Attributes:
        preempts: Target by (actor, visit), for deviations of the kind ``preempt``.
        others: Target by (kind, actor, visit), for all other kinds.

    Thread safety: never changes after it was made.
    """

    __slots__ = ("others", "preempts", "schedule")

    def __init__(self, schedule: Schedule = ()) -> None:
        self.schedule = schedule
        self.preempts: dict[tuple[int, int], int] = {}
        self.others: dict[tuple[DeviationKind, int, int], int] = {}
        for kind, actor, visit, to in map(_parts, schedule):
            if kind == "preempt":
                self.preempts[actor, visit] = to
            else:
                self.others[kind, actor, visit] = to

    def choose(
        self, kind: DeviationKind, actor: int, visit: int, options: tuple[int, ...], site: int
    ) -> int:
        """The target of the schedule if it can go on, else the default."""
        if kind == "preempt":
            wanted = self.preempts.get((actor, visit))
        else:
            wanted = self.others.get((kind, actor, visit))
        return wanted if wanted is not None and wanted in options else options[0]


def _parts(deviation: Deviation) -> tuple[DeviationKind, int, int, int]:
    return deviation.kind, deviation.actor, deviation.visit, deviation.to


class Pct:
    """
    Probabilistic concurrency testing: strict random priorities, lowered at a few moments.

    Who may go on and has the highest priority does. At `depth` - 1 decisions drawn from the
    first `length`, the one that would go on falls behind everybody else. A bug that needs d
    ordering constraints among n actors and k decisions shows with probability >= 1/(n k^(d-1)).
    A run leaves the default only a handful of times, so what it finds is a short schedule.

    Thread safety: its state is the baton holder's, see `Chooser`.
    """

    def __init__(self, seed: int | str, depth: int, length: int) -> None:
        self._random = Random(f"pct/{seed}")
        self._priorities: dict[tuple[bool, int], float] = {}
        span = max(1, length)
        falls = sorted(self._random.sample(range(span), min(span, max(0, depth - 1))))
        self._falls = {moment: -1.0 - rank for rank, moment in enumerate(falls)}
        self._moment = 0

    def choose(
        self, kind: DeviationKind, actor: int, visit: int, options: tuple[int, ...], site: int
    ) -> int:
        """The option with the highest priority."""
        if kind == "cancel":
            return options[0] if self._random.random() < 0.9 else self._random.choice(options)
        tasks = kind == "task"
        best = max(options, key=lambda number: self._priority(tasks, number))
        fallen = self._falls.get(self._moment)
        self._moment += 1
        if fallen is not None:
            self._priorities[tasks, best] = fallen
            best = max(options, key=lambda number: self._priority(tasks, number))
        return best

    def _priority(self, tasks: bool, number: int) -> float:
        known = self._priorities.get((tasks, number))
        if known is None:
            known = self._priorities[tasks, number] = self._random.random()
        return known


class RandomWalk:
    """
    Leaves the default with a probability of its own at every decision.

    Thread safety: its state is the baton holder's, see `Chooser`.
    """

    def __init__(self, seed: int | str, p: float) -> None:
        self._random = Random(f"walk/{seed}")
        self._p = p

    def choose(
        self, kind: DeviationKind, actor: int, visit: int, options: tuple[int, ...], site: int
    ) -> int:
        """The default, or with probability `p` any other; forced choices are always even."""
        if kind == "forced":
            return self._random.choice(options)
        if len(options) < 2 or self._random.random() >= self._p:
            return options[0]
        return self._random.choice(options[1:])
