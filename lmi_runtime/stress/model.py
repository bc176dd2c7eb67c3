"""What travels inside the harness: schedules, places, steps, findings, reports. All frozen."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "Access",
    "ActorInfo",
    "Conflict",
    "Coverage",
    "Deviation",
    "DeviationKind",
    "Finding",
    "Granularity",
    "Location",
    "Place",
    "Report",
    "Schedule",
    "Step",
    "StepKind",
    "Verdict",
]


class Granularity(enum.Enum):
    """Where a running thread may be preempted."""

    GIL = "gil"
    """Where CPython with the GIL can switch: function entry, backward jump, after a call."""

    FREE_THREADED = "free-threaded"
    """Before every access to state that threads may share."""

    LINE = "line"
    """At the start of every source line."""


DeviationKind = Literal["preempt", "forced", "task", "cancel"]


@dataclass(frozen=True, slots=True, order=True)
class Deviation:
    """
    One place where a run leaves the default, which is to go on with what is running.

    Attributes:
        kind: ``preempt``: a thread that could go on is stopped (costs one preemption).
            ``forced``: the running thread blocked or ended, and not the first of the others
            goes on (costs nothing). ``task``: an event loop takes not the oldest ready task
            (costs one). ``cancel``: the task about to be resumed is cancelled (costs one).
        actor: Number of the thread (or loop) that decides, in order of creation, from 0.
        visit: Which of this actor's decisions of this kind, from 0.
        to: What runs instead: the number of a thread, or for ``task`` that of a task. -1 lets
            time pass to the next timer.
    """

    kind: DeviationKind
    actor: int
    visit: int
    to: int

    @property
    def cost(self) -> int:
        """What it adds to the number of preemptions."""
        return 0 if self.kind == "forced" else 1


Schedule = tuple[Deviation, ...]
"""In the order in which they take place. Empty: everything runs in turn, uninterrupted."""


@dataclass(frozen=True, slots=True)
class Place:
    """
    A point in the source.

    Attributes:
        file: Absolute path.
        line: From 1.
        function: Qualified name.
        offset: Bytecode offset, or -1.
        label: What happens there, in words that do not depend on the Python version, such as
            ``load self.n`` or ``call self.free.pop``.
    """

    file: str
    line: int
    function: str
    offset: int = -1
    label: str = ""


@dataclass(frozen=True, slots=True)
class Location:
    """
    A piece of state that several invocations may touch.

    Attributes:
        owner: Identity of the object that holds it, unique in one run.
        key: Attribute name, item key (as repr) or None for the whole container.
        path: What a person would write: ``app.CACHE['sku-1']``.
    """

    owner: int
    key: str | None
    path: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Access:
    """
    One read or write.

    Attributes:
        mode: ``read``, ``write`` or ``update`` (both, not to be separated: ``list.append``).
        location: What was touched.
        value: Short repr of what was read, or of what was there after the write.
    """

    mode: Literal["read", "write", "update"]
    location: Location
    value: str = ""


StepKind = Literal[
    "run",  # user code at `place`, with its accesses
    "start",  # the actor begins
    "end",  # the actor ends; detail: result or exception
    "acquire",  # a lock was taken; subject: its name
    "release",
    "wait",  # begins to wait; subject: for what
    "wake",  # goes on after waiting
    "notify",  # wakes others: condition, event, queue, future
    "sleep",
    "spawn",  # starts a thread or task; subject: its name
    "join",
    "await",  # a task gives up the loop
    "cancel",
    "note",  # something the harness wants said; detail: the sentence
]


@dataclass(frozen=True, slots=True)
class Step:
    """
    One thing that happened, in the one order in which everything happened.

    Attributes:
        index: Position in the run, from 0.
        actor: Number of the `ActorInfo` that did it.
        kind: What it was.
        place: Where in user code, when known.
        source: The source line, stripped.
        accesses: State it read and wrote.
        subject: Name of the lock, thread, task or timer it concerns.
        subject_id: Identity of that object in this run, 0 for none.
        detail: A few words more.
        deviates: The scheduler left the default just before this step: the previous actor was
            preempted here.
        time_s: Virtual seconds since the start.
    """

    index: int
    actor: int
    kind: StepKind
    place: Place | None = None
    source: str = ""
    accesses: tuple[Access, ...] = ()
    subject: str = ""
    subject_id: int = 0
    detail: str = ""
    deviates: bool = False
    time_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ActorInfo:
    """
    Someone who takes steps: an invocation, a thread it started, a task.

    Attributes:
        number: In order of creation, from 0.
        name: ``invocation 1``, ``ThreadPoolExecutor-0_1``.
        kind: What it is.
        invocation: Number of the invocation it works for, from 1; None for nobody's.
    """

    number: int
    name: str
    kind: Literal["thread", "task", "loop"]
    invocation: int | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two accesses to one location, at least one of them a write, that nothing orders."""

    location: Location
    first: int
    """Index of the first `Step`."""
    second: int
    """Index of the second."""


class Verdict(enum.Enum):
    """What a search can end with."""

    FAILED = "failed"
    PASSED = "passed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One failure, in its smallest form.

    Attributes:
        oracle: Which oracle saw it: ``isolation``, ``serial``, ``deadlock``, ``livelock``,
            ``exception``, ``invariant``, ``leak``, ``environment``, ``deadline``,
            ``linearizability``.
        sentence: What went wrong, one sentence.
        hint: The usual mend, one sentence; empty if there is none.
        granularity: The coarsest at which it was found.
        builds: On which builds it can happen: ``("gil", "free-threaded")`` or
            ``("free-threaded",)``.
        schedule: The deviations that show it.
        preemptions: Their cost.
        minimal: Every schedule with fewer preemptions was tried and holds.
        token: Replays it: ``lmi stress --replay TOKEN``.
        events: The invocations' events, JSON-like, in order; empty outside handlers.
        actors: Who takes part.
        steps: All that happened, in order, from the replayed counterexample.
        conflicts: What nothing orders, the most telling first.
        object_path: The shared object at fault, if one could be named.
        cycle: For a deadlock, lines such as ``invocation 1 holds LOCK_A, waits for LOCK_B``.
        traceback: Of the exception at fault, or empty.
        warning: True when it can only happen on free-threaded builds and the default asked
            about both.
    """

    oracle: str
    sentence: str
    hint: str = ""
    granularity: Granularity = Granularity.GIL
    builds: tuple[str, ...] = ("gil", "free-threaded")
    schedule: Schedule = ()
    preemptions: int = 0
    minimal: bool = False
    token: str = ""
    events: tuple[Any, ...] = ()
    actors: tuple[ActorInfo, ...] = ()
    steps: tuple[Step, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    object_path: str = ""
    cycle: tuple[str, ...] = ()
    traceback: str = ""
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Coverage:
    """
    How much was tried.

    Attributes:
        schedules: Runs of the program, all searches together.
        bound: All schedules with at most so many preemptions were tried; -1 for none.
        bounds: The same for each granularity that was searched.
        points: Switch points of the longest run.
        wanted_bound: Where the search was to stop.
        searches: Runs by search: ``{"serial": 2, "bounded": 311, "hypothesis": 120}``.
        stopped_by: ``failure``, ``exhausted``, ``budget``, ``uncontrolled``.
        uncontrolled: Sentences that name what was not under control.
    """

    schedules: int = 0
    bound: int = -1
    bounds: Mapping[Granularity, int] = field(default_factory=dict)
    points: int = 0
    wanted_bound: int = 2
    searches: Mapping[str, int] = field(default_factory=dict)
    stopped_by: str = ""
    uncontrolled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """
    The whole answer.

    Attributes:
        subject: What was explored: ``app.handler``.
        verdict: Failed if there is a finding (warnings alone do not fail), inconclusive when
            something was not controlled or nothing could be tried, else passed.
        findings: Worst first.
        coverage: How much was tried.
        notes: Conflicts and other things worth knowing that are no verdict.
        seconds: Real seconds it took.
        seed: Repeats the same search.
        python: ``3.13.1``.
        mode: ``threads``, ``async``, ``process``.
    """

    subject: str
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    seed: int = 0
    python: str = ""
    mode: str = "threads"
