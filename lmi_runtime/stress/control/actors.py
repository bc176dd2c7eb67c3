"""Those who take turns, and what they wait for."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal

from lmi_runtime.stress.control.raw import RawLock

__all__ = ["Actor", "Unwind", "Waiting"]


trace: Any = None
"""What `sys.settrace` is given in actors, where it is used at all; written once."""


class Unwind(BaseException):
    """
    Ends an actor whose run is over; raised inside it, at its next switch point.

    Not an `Exception`: user code must not take it for a failure of its own.
    """


@dataclass(frozen=True, slots=True)
class Waiting:
    """
    Why an actor cannot go on.

    Attributes:
        what: What it does: ``lock``, ``join``, ``sleep``, ``loop``.
        thing: The lock, thread or loop it waits for; None for the clock.
        is_timer: It goes on when its time has come, which may be at any moment; a time-out
            in contrast only comes when nobody else can go on.
    """

    what: Literal["lock", "join", "sleep", "loop", "outside"]
    thing: Any = None
    is_timer: bool = False


class Actor:
    """
    A real thread that runs when it holds the baton.

    Thread safety: every attribute belongs to whoever holds the scheduler's baton, which is
    handed from one actor to the next; `baton` itself is a real lock.
    """

    __slots__ = (
        "baton",
        "begin",
        "busy",
        "deadline",
        "done",
        "entered",
        "error",
        "finished",
        "forced_visits",
        "held",
        "ident",
        "idle_spins",
        "invocation",
        "is_loop",
        "is_participant",
        "last_site",
        "looked_at",
        "loop_visits",
        "lost",
        "name",
        "napped_at",
        "naps",
        "number",
        "pending_call",
        "plan",
        "result",
        "speaker",
        "spins",
        "still",
        "thread",
        "timed_out",
        "unwinds",
        "visits",
        "waiting",
    )

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.baton = RawLock()
        self.baton.acquire()
        self.ident = 0
        self.begin: Callable[[], object] | None = None  # starts its thread, at its first turn
        self.thread: Any = None
        self.invocation: int | None = None
        self.is_participant = False
        self.is_loop = False
        self.entered = False
        self.done = False
        self.lost = False  # its run was ended without it
        self.finished = False  # its own doing: it was not unwound
        self.result: Any = None
        self.error: BaseException | None = None
        self.waiting: Waiting | None = None
        self.deadline: float | None = None
        self.timed_out = False
        self.held: list[Any] = []  # locks, oldest first
        self.visits = 0
        self.forced_visits = 0
        self.loop_visits = 0
        self.plan: dict[int, int] | None = None
        self.pending_call: Any = None
        self.last_site = -1
        # Under whose number its steps are recorded: its own, or that of the task a loop runs.
        self.speaker = number
        self.spins = 0
        self.unwinds = 0
        self.idle_spins = 0
        self.busy = False  # it has changed something since its last backward jump

        self.naps = 0  # sleeps in a row between which nobody else ran
        self.napped_at = -1
        self.still = 0  # looks in a row at which its own variables were the same
        self.looked_at: list[Any] = []

    def look(self, frame: FrameType) -> None:
        """A loop that does nothing but look, in `frame`, has looked again."""
        sees = [frame, *frame.f_locals.values()]
        before = self.looked_at
        same = len(sees) == len(before) and all(map(operator.is_, sees, before))
        self.still = self.still + 1 if same else 0
        self.looked_at = sees

    def __repr__(self) -> str:
        return f"<Actor {self.number} {self.name}>"
