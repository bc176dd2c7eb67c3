"""What one scenario is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

__all__ = ["Budget", "Make", "Scenario", "State"]


class State:
    """What the participants of one run share; a scenario puts in what it needs."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"This run has no {name!r}; the scenario's setup makes it.")

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value


class Budget(NamedTuple):
    """
    How far a campaign goes if nobody says otherwise.

    Attributes:
        preemptions: Every schedule with at most so many is tried.
        schedules: At most so many runs.
        seconds: At most so many real seconds; ``math.inf``: the number of runs alone counts.
    """

    preemptions: int = 2
    schedules: int = 4000
    seconds: float = 30.0


class Scenario(NamedTuple):
    """
    Something of ours that several threads or tasks use at once, and what must hold afterwards.

    Attributes:
        setup: Makes the state of one run; called while under control.
        participants: Those that run at once; each takes the state.
        invariant: Raises if the state is wrong when all have ended.
        include: Modules of ours that are watched.
        budget: See `Budget`.
        cancels: Tasks are cancelled wherever they wait, too.
        granularity: See `explore`.
    """

    setup: Callable[[], Any]
    participants: Sequence[Callable[[Any], Any]]
    invariant: Callable[[Any], Any]
    include: tuple[str, ...]
    budget: Budget = Budget()
    cancels: bool = False
    granularity: str = "default"


Make = Callable[[], Scenario]
