"""
All workers of one environment as a state machine: events in, actions out. Pure.

Each slot moves as `TRANSITIONS` says; what is not in the table changes nothing, because a message
may arrive late (a worker that is being killed says "ready"). The environment itself goes one
way: starting, released (everybody polls), ending.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from lmi_runtime.model import Failure
from lmi_runtime.supervisor.policy import EXIT_REPLACE, EXIT_STOPPED, RestartRules, SlotHistory

__all__ = [
    "TRANSITIONS",
    "Action",
    "Drain",
    "Event",
    "Exit",
    "Fleet",
    "Kill",
    "Phase",
    "Release",
    "ReportInitError",
    "Spawn",
]


class Phase(enum.Enum):
    """Where a slot is."""

    WAITING = "waiting"  # no process; one is due
    STARTING = "starting"  # a process, not ready
    READY = "ready"  # holds its polls back until the siblings are ready too
    SERVING = "serving"
    ENDING = "ending"  # told to drain, or killed
    GONE = "gone"  # no process, and none will come


class Event(enum.Enum):
    """What happens to a slot."""

    SPAWNED = "spawned"
    READY = "ready"
    RELEASED = "released"
    DIED = "died"
    STOPPED = "stopped"


TRANSITIONS = {
    (Phase.WAITING, Event.SPAWNED): Phase.STARTING,
    (Phase.WAITING, Event.STOPPED): Phase.GONE,
    (Phase.STARTING, Event.READY): Phase.READY,
    (Phase.STARTING, Event.DIED): Phase.WAITING,
    (Phase.STARTING, Event.STOPPED): Phase.ENDING,
    (Phase.READY, Event.RELEASED): Phase.SERVING,
    (Phase.READY, Event.DIED): Phase.WAITING,
    (Phase.READY, Event.STOPPED): Phase.ENDING,
    (Phase.SERVING, Event.DIED): Phase.WAITING,
    (Phase.SERVING, Event.STOPPED): Phase.ENDING,
    (Phase.ENDING, Event.DIED): Phase.GONE,
}
"""Every move a slot can make."""

_ALIVE = frozenset({Phase.STARTING, Phase.READY, Phase.SERVING, Phase.ENDING})
_UP = frozenset({Phase.READY, Phase.SERVING})


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a worker in `slot`; if that fails, it has died."""

    slot: int


@dataclass(frozen=True, slots=True)
class Release:
    """Tell the worker in `slot` to poll."""

    slot: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell the worker in `slot` to finish and exit."""

    slot: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End the worker in `slot` now."""

    slot: int


@dataclass(frozen=True, slots=True)
class ReportInitError:
    """Tell the platform why this environment never became ready. At most one a life."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Exit:
    """Leave with `code`. The last action there is."""

    code: int


Action = Spawn | Release | Drain | Kill | ReportInitError | Exit


@dataclass(slots=True)
class _Slot:
    index: int
    due_s: float
    phase: Phase = Phase.WAITING
    history: SlotHistory = field(default_factory=SlotHistory)

    def move(self, event: Event) -> bool:
        after = TRANSITIONS.get((self.phase, event))
        if after is None:
            return False
        self.phase = after
        return True


class Fleet:
    """
    Decides for `size` worker slots.

    Every method takes the time in seconds and returns the actions to carry out, in order. Call
    `tick` at `wake_s`, or earlier; it is never wrong to call it.

    Thread safety: the supervisor's only thread.
    """

    def __init__(self, size: int, rules: RestartRules, random: Callable[[], float]) -> None:
        self._rules = rules
        self._random = random
        self._slots = [_Slot(index, due_s=float("-inf")) for index in range(size)]
        self._released = False
        self._exit_code: int | None = None  # set when the environment is ending
        self._kill_s = float("inf")
        self._leave_s = float("inf")
        self._left = False

    @property
    def released(self) -> bool:
        """True once workers were allowed to poll."""
        return self._released

    @property
    def ending(self) -> bool:
        """True once nothing is replaced any more."""
        return self._exit_code is not None

    def phase(self, slot: int) -> Phase:
        """Where `slot` is now."""
        return self._slots[slot].phase

    def wake_s(self) -> float | None:
        """When `tick` has something to do without any event, or None for never."""
        if self.ending:
            return min(self._kill_s, self._leave_s)
        times = [slot.due_s for slot in self._slots if slot.phase is Phase.WAITING]
        release_s = self._release_due_s()
        if release_s is not None:
            times.append(release_s)
        return min(times, default=None)

    def tick(self, now_s: float) -> list[Action]:
        """Do what has become due."""
        if self.ending:
            return list(self._end_overdue(now_s))
        return [*self._spawn_due(now_s), *self._release_if_time(now_s)]

    def ready(self, slot: int, now_s: float) -> list[Action]:
        """The worker in `slot` can serve."""
        it = self._slots[slot]
        if not it.move(Event.READY):
            return []
        it.history.ready_s = now_s
        if self._released:
            return list(self._release([it]))
        return list(self._release_if_time(now_s))

    def init_failed(self, slot: int, failure: Failure, now_s: float) -> list[Action]:
        """
        The worker in `slot` could not prepare its handler.

        Before anybody polls this is the environment's init error. Later it is one fruitless
        life: the platform takes no init error from an environment that serves.
        """
        if self.ending or self._slots[slot].phase is not Phase.STARTING:
            return []
        if self._released:
            return [Kill(slot)]
        return [ReportInitError(failure), *self._end(EXIT_REPLACE, now_s, drain=False)]

    def died(self, slot: int, now_s: float, why: str, *, answered: Collection[int]) -> list[Action]:
        """
        The process in `slot` is gone, or could not even be made (a life of length zero).

        Args:
            slot: Whose process it was.
            now_s: The time, in seconds.
            why: How it ended, in words, for an init error.
            answered: Slots whose last or present process has answered an invocation.
        """
        it = self._slots[slot]
        if not it.move(Event.DIED):
            return []
        if self.ending:
            return list(self._leave_if_empty())
        it.history.note_death(self._rules, now_s, answered=slot in answered)
        it.due_s = now_s + self._rules.backoff_s(it.history.deaths, self._random)
        if self._hopeless(now_s, answered):
            return list(self._give_up(now_s, why))
        return list(self._spawn_due(now_s))

    def unreachable(self, now_s: float) -> list[Action]:
        """A worker says the Runtime API is gone: end in order, and be replaced."""
        return list(self._end(EXIT_REPLACE, now_s, drain=True))

    def stop(self, now_s: float) -> list[Action]:
        """Somebody asked us to stop. Asking again changes nothing, the deadline least of all."""
        return list(self._end(EXIT_STOPPED, now_s, drain=True))

    def _spawn_due(self, now_s: float) -> Iterator[Action]:
        for slot in self._slots:
            if slot.phase is Phase.WAITING and slot.due_s <= now_s:
                slot.move(Event.SPAWNED)
                yield Spawn(slot.index)

    def _release_if_time(self, now_s: float) -> Iterator[Action]:
        release_s = self._release_due_s()
        if release_s is None:
            return
        up = [slot for slot in self._slots if slot.phase is Phase.READY]
        if now_s >= release_s or len(up) == len(self._slots):
            self._released = True
            yield from self._release(up)

    def _release_due_s(self) -> float | None:
        if self._released:
            return None
        times = [
            slot.history.ready_s
            for slot in self._slots
            if slot.phase is Phase.READY and slot.history.ready_s is not None
        ]
        return min(times) + self._rules.ready_timeout_s if times else None

    def _release(self, slots: list[_Slot]) -> Iterator[Action]:
        for slot in slots:
            slot.move(Event.RELEASED)
            yield Release(slot.index)

    def _hopeless(self, now_s: float, answered: Collection[int]) -> bool:
        return all(
            slot.history.hopeless(self._rules, now_s, answered=slot.index in answered)
            for slot in self._slots
        )

    def _give_up(self, now_s: float, why: str) -> Iterator[Action]:
        if not self._released:
            message = f"No worker process became ready. The last one {why}."
            yield ReportInitError(Failure("Runtime.ExitError", "Runtime.ExitError", message))
        yield from self._end(EXIT_REPLACE, now_s, drain=False)

    def _end(self, code: int, now_s: float, *, drain: bool) -> Iterator[Action]:
        if self.ending:
            return
        self._exit_code = code
        self._kill_s = now_s + self._rules.shutdown_budget_s if drain else now_s
        self._leave_s = self._kill_s + self._rules.reap_grace_s
        for slot in self._slots:
            was_up = slot.phase in _UP
            if slot.move(Event.STOPPED) and slot.phase is Phase.ENDING:
                # A worker that is still importing cannot hear us, and has nothing to finish.
                yield Drain(slot.index) if drain and was_up else Kill(slot.index)
        if not drain:
            self._kill_s = float("inf")
        yield from self._leave_if_empty()

    def _end_overdue(self, now_s: float) -> Iterator[Action]:
        if now_s >= self._kill_s:
            self._kill_s = float("inf")
            for slot in self._slots:
                if slot.phase is Phase.ENDING:
                    yield Kill(slot.index)
        if now_s >= self._leave_s:
            yield from self._leave()

    def _leave_if_empty(self) -> Iterator[Action]:
        if not any(slot.phase in _ALIVE for slot in self._slots):
            yield from self._leave()

    def _leave(self) -> Iterator[Action]:
        if not self._left and self._exit_code is not None:
            self._left = True
            yield Exit(self._exit_code)
