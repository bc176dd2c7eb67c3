"""What is explored, and what one run of it was: the two sides of `execute()`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from lmi_runtime.stress.model import ActorInfo, DeviationKind, Granularity, Place, Schedule, Step

__all__ = [
    "Chooser",
    "Complaint",
    "Decision",
    "Ended",
    "Execution",
    "Participant",
    "Program",
    "RunOptions",
    "Touched",
]


@dataclass(frozen=True, slots=True)
class Participant:
    """
    One of those that run at once.

    Attributes:
        call: Without arguments; a function runs in a thread, a coroutine function in a task.
        name: What reports call it.
        invocation: Its number from 1, when it is an invocation of a handler.
    """

    call: Callable[[], Any]
    name: str
    invocation: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """
    How a participant ended: with a result, with an error, or not at all.

    Attributes:
        result: What it returned.
        error: What it raised.
        finished: It came to its end.
        cancelled: It raised that it was cancelled, because the scheduler had cancelled it.
    """

    result: Any = None
    error: BaseException | None = None
    finished: bool = True
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Complaint:
    """What an oracle says of one run. Runs fail for the same reason if `key` is the same."""

    oracle: str
    sentence: str
    hint: str = ""
    object_path: str = ""
    traceback: str = ""
    cycle: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What stays the same while a failure is made smaller."""
        return self.oracle, self.object_path


class Program(Protocol):
    """
    Something with participants that can be run again and again from the same start.

    Thread safety: `setup`, `participants`, `judge` and `close` are called by the thread that
    explores, never at the same time as participants.
    """

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    def setup(self) -> Any:
        """Make the state of one run. Locks made here are under control."""
        ...

    def participants(self, state: Any) -> Sequence[Participant]:
        """Those that run at once, made anew for each run."""
        ...

    def judge(self, state: Any, ended: Sequence[Ended], *, serial: bool) -> Sequence[Complaint]:
        """
        What is wrong with a finished run; called with the world still under control.

        Args:
            state: From `setup`.
            ended: One a participant, in their order.
            serial: Nothing overlapped; the run may serve as a reference.
        """
        ...

    def close(self, state: Any) -> None:
        """Undo what `setup` did to the process."""
        ...


class Decision(NamedTuple):
    """
    One moment at which more than one could go on.

    Attributes:
        kind: See `Deviation`.
        actor: Who decides.
        visit: Which of its decisions of this kind.
        options: The numbers that could be chosen, the default first. For ``preempt`` the
            default is the actor itself.
        chosen: The one that was.
        site: Identity of the place in the code, the same in every run of one process.
    """

    kind: DeviationKind
    actor: int
    visit: int
    options: tuple[int, ...]
    chosen: int
    site: int


class Touched(NamedTuple):
    """
    Somebody touched a piece of state.

    Attributes:
        decisions: How many decisions there had been.
        actor: Who.
        where: Identity of the owner, and the key; the same piece has the same in one run.
        writes: It was not only read.
    """

    decisions: int
    actor: int
    where: tuple[int, str | None]
    writes: bool


class Chooser(Protocol):
    """
    Chooses at every decision of one run.

    Thread safety: called by one thread at a time, whichever holds the baton.
    """

    def choose(
        self,
        kind: DeviationKind,
        actor: int,
        visit: int,
        options: tuple[int, ...],
        site: int,
    ) -> int:
        """One of `options`; ``options[0]`` is the default."""
        ...


@dataclass(frozen=True, slots=True)
class RunOptions:
    """
    How one run is made.

    Attributes:
        granularity: Where threads may be preempted.
        include: Packages to watch besides the user's own code.
        record: Keep steps and accesses: slower, for reports and rankings.
        max_points: A run with more switch points is stopped: livelock or inconclusive.
        usual_points: How many points a run usually passes, once that is known; many times more
            is a livelock.
        watchdog_s: Real seconds without a sign of life until something counts as uncontrolled.
        serial: Participants one after the other, in this order; nothing else is tried.
        cancels: Decisions of the kind ``cancel`` are offered.
        backend: Which event loop runs coroutine functions.
    """

    granularity: Granularity = Granularity.GIL
    include: tuple[str, ...] = ()
    record: bool = False
    max_points: int = 100_000
    usual_points: int | None = None
    watchdog_s: float = 2.0
    serial: tuple[int, ...] | None = None
    cancels: bool = False
    backend: Literal["asyncio", "trio"] = "asyncio"


@dataclass(slots=True)
class Execution:
    """
    One run, finished.

    Attributes:
        complaints: What the scheduler and the program's judge found wrong; empty is good.
        decisions: All of them, in order.
        taken: The deviations among them: replaying exactly these gives the same run.
        ended: One a participant.
        points: Switch points passed, also those where only one could go on.
        uncontrolled: Sentences about what escaped control; such a run proves nothing.
        actors: Everybody who took a step.
        steps: When recorded.
        hot: Sites that touched state which several actors touched, one of them writing; when
            recorded.
        places: Of the sites in `decisions`; when recorded.
        threads: How many real threads took part, the one of an event loop included; while there
            is one alone, where threads may be preempted makes no difference.
        touches: State that was touched, in order; when recorded.
    """

    complaints: tuple[Complaint, ...] = ()
    decisions: list[Decision] = field(default_factory=list)
    taken: Schedule = ()
    ended: tuple[Ended, ...] = ()
    points: int = 0
    uncontrolled: tuple[str, ...] = ()
    actors: tuple[ActorInfo, ...] = ()
    steps: tuple[Step, ...] = ()
    hot: frozenset[int] = frozenset()
    places: Mapping[int, Place] = field(default_factory=dict)
    threads: int = 0
    touches: tuple[Touched, ...] = ()
