"""
One run: real threads that take turns, in virtual time.

Exactly one actor holds the baton; everything here is touched by its holder only, so none of it
needs a lock. A hand-off releases the next actor's real lock and takes one's own. The thread that
explores holds no baton: it waits for the end and is the watchdog meanwhile.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from typing import NoReturn

from lmi_runtime.stress.control import raw
from lmi_runtime.stress.control.actors import Actor, Unwind, Waiting
from lmi_runtime.stress.control.deadlock import describe_deadlock
from lmi_runtime.stress.control.raw import RawLock, get_ident
from lmi_runtime.stress.control.recorder import Recorder
from lmi_runtime.stress.model import Deviation, DeviationKind
from lmi_runtime.stress.program import Chooser, Complaint, RunOptions

__all__ = ["TIME_PASSES", "Scheduler"]

TIME_PASSES = -1
"""Option of an event loop: go on to the next timer although something is ready."""

_SPIN_LIMIT = 1_000
"""Backward jumps in a row until others get a turn: a thread that spins would never end."""

_IDLE_SPIN_LIMIT = 2
"""The same for a loop that does nothing but look: it waits for somebody else."""

_POLL_LIMIT = 10_000
"""Sleeps in a row that changed nothing for anybody until waiting counts as livelock."""

_LIVELOCK_FACTOR = 20
"""A run of so many times the usual number of points does not end by itself."""

_LIVELOCK_POINTS = 5_000
"""No run is called endless before it has passed so many points."""

_ANSWERS_LIMIT = 1_000
"""Readings of the clock in a row until it moves by itself, for loops that wait for it."""


class Scheduler:
    """
    Takes every decision of one run.

    Args:
        chooser: Asked at every decision with more than one option.
        options: See `RunOptions`.
        recorder: Told of all that happens, when a report is wanted.

    Thread safety: methods are called by the actor that holds the baton, except `run()`, which
    belongs to the exploring thread.
    """

    def __init__(self, chooser: Chooser, options: RunOptions, recorder: Recorder | None) -> None:
        self.options = options
        self.recorder = recorder
        self.actors: list[Actor] = []
        self.by_ident: dict[int, Actor] = {}
        self.running: Actor | None = None
        self.finished = RawLock()
        self.finished.acquire()
        self.aborting = False
        self.over = False
        self.clock = 0.0
        self.decisions: list[tuple[DeviationKind, int, int, tuple[int, ...], int, int]] = []
        self.points = 0
        self.clean = True
        self.progress = 0
        self.polls = 0
        self.reads = 0
        self.deadlock: Complaint | None = None
        self.livelocked: Actor | None = None
        self.uncontrolled: list[str] = []
        self.thread_errors: list[tuple[Actor, BaseException]] = []
        self.on_second_actor: list[Callable[[], None]] = []
        self.numbers = itertools.count()
        self.hashes = itertools.count()
        self.seeded: random.Random | None = None
        self.chances: dict[int, random.Random] = {}
        self.enter_thread: Callable[[], None] = _nothing
        self.leave_thread: Callable[[], None] = _nothing
        self._choose = chooser.choose
        self._preempts = _by_actor(chooser)
        self._enabled: list[Actor] = []
        self._sleepers = 0
        self._queue: list[Actor] = []
        self._options: tuple[Actor, tuple[int, ...]] | None = None
        self._several = False
        self.thread_count = 0
        usual = options.usual_points
        self._max_points = (
            options.max_points
            if usual is None
            else min(options.max_points, max(_LIVELOCK_POINTS, _LIVELOCK_FACTOR * usual))
        )

    # ------------------------------------------------------------------ actors

    def add(self, name: str) -> Actor:
        """A new actor that is ready to run."""
        actor = Actor(next(self.numbers), name)
        if self._preempts is not None:
            actor.plan = self._preempts.get(actor.number)
        self.actors.append(actor)
        self._enabled.append(actor)
        self._options = None
        self.thread_count += 1
        if self.thread_count == 2:
            self._several = True
            for hook in self.on_second_actor:
                hook()
        return actor

    def line_up(self, actors: list[Actor]) -> None:
        """Let each of `actors` begin only when the one before it has ended."""
        self._queue = actors[1:]
        for actor in self._queue:
            self._enabled.remove(actor)
        self._options = None

    def adopt(self, actor: Actor) -> None:
        """Called first in the actor's own thread: waits for its first turn."""
        actor.ident = get_ident()
        self.by_ident[actor.ident] = actor
        actor.baton.acquire()
        actor.entered = True
        if self.aborting:
            raise Unwind

    def end(self, actor: Actor) -> None:
        """Called last in the actor's own thread: hands the baton on."""
        actor.done = True
        actor.waiting = None
        self.progress += 1
        self.by_ident.pop(actor.ident, None)
        if actor in self._enabled:
            self._enabled.remove(actor)
        self._options = None
        if self.recorder is not None:
            self.recorder.end(actor)
        for other in self.actors:
            if other.waiting is not None and other.waiting.thing is actor:
                self.wake(other)
        if self._queue and actor.is_participant:
            self._enable(self._queue.pop(0))
        self.clean = True
        if not self.aborting:
            target = self._next(actor)
            if target is not None:
                self._hand_to(target)
                return
        self._unwind_next()

    # ------------------------------------------------------------------ deciding

    def point(self, actor: Actor, site: int) -> None:
        """A place where `actor` may be preempted. Returns when it is its turn again."""
        if self.aborting:
            raise Unwind
        self.clean = True
        self.points += 1
        actor.last_site = site
        if not self._several:
            return
        visit = actor.visits
        actor.visits = visit + 1
        if self.points > self._max_points:
            self._give_up(actor)
        cached = self._options
        if cached is not None and cached[0] is actor:
            options = cached[1]
        else:
            options = self._preempt_options(actor)
            self._options = (actor, options)
        if len(options) == 1:
            return
        if self._preempts is not None:
            to = actor.number if actor.plan is None else actor.plan.get(visit, actor.number)
            if to != actor.number and to not in options:
                to = actor.number
        else:
            to = self._choose("preempt", actor.number, visit, options, site)
        self.decisions.append(("preempt", actor.number, visit, options, to, site))
        if to != actor.number:
            if self.recorder is not None:
                self.recorder.deviation(actor, site)
            self._turn_to(actor, self._actor(to))

    def spin(self, actor: Actor, site: int) -> None:
        """A backward jump: after very many without a pause the others get a turn."""
        actor.spins += 1
        if actor.busy:
            actor.busy = False
            actor.idle_spins = 0
        else:
            actor.idle_spins += 1
        if actor.spins > _SPIN_LIMIT or actor.idle_spins > _IDLE_SPIN_LIMIT:
            actor.spins = actor.idle_spins = 0
            actor.last_site = site
            self._let_others(actor)

    def _let_others(self, actor: Actor) -> None:
        """Put `actor` last; not a choice, or a spinning thread would be chosen for ever."""
        self._enabled.remove(actor)
        self._options = None
        if self._enabled or self._sleepers:
            target = self._next(actor, after=actor)
            self._enable(actor)
            if target is not None:
                self._turn_to(actor, target)
        else:
            self._enable(actor)

    def block(
        self, actor: Actor, waiting: Waiting, deadline: float | None = None, site: int = -1
    ) -> bool:
        """
        Stop until somebody wakes `actor` or its time has come.

        Returns:
            False when the deadline came first.
        """
        if self.aborting:
            raise Unwind
        actor.waiting = waiting
        actor.deadline = deadline
        actor.timed_out = False
        if waiting.is_timer:
            self._sleepers += 1
        self._enabled.remove(actor)
        self._options = None
        if site >= 0:
            actor.last_site = site
        self.clean = True
        target = self._next(actor)
        if target is None:
            self._unwind_next()
            actor.baton.acquire()
            raise Unwind
        if target is not actor:
            self._turn_to(actor, target)
        elif actor.waiting is not None:  # it is to go on at once: its time passes
            self.advance(actor.deadline or self.clock)
        return not actor.timed_out

    def wake(self, actor: Actor) -> None:
        """What `actor` waited for may have come: it competes again."""
        self._forget_wait(actor)
        self.progress += 1
        self.polls = 0
        self._enable(actor)

    def decide(self, kind: DeviationKind, actor: Actor, options: tuple[int, ...], site: int) -> int:
        """One decision of an event loop."""
        visit = actor.loop_visits
        actor.loop_visits = visit + 1
        self.count_step(actor)
        to = self._choose(kind, actor.number, visit, options, site)
        if to not in options:
            to = options[0]
        self.decisions.append((kind, actor.number, visit, options, to, site))
        return to

    def count_step(self, actor: Actor) -> None:
        """A step of an event loop that leaves no choice."""
        self.points += 1
        if self.points > self._max_points:
            self._give_up(actor)

    def taken(self) -> tuple[Deviation, ...]:
        """The deviations of this run."""
        return tuple(
            Deviation(kind, actor, visit, to)
            for kind, actor, visit, options, to, _ in self.decisions
            if to != options[0]
        )

    # ------------------------------------------------------------------ time

    def now(self, actor: Actor | None = None) -> float:
        """Virtual seconds since the start."""
        if actor is not None:
            self.reads += 1
            if self.reads > _ANSWERS_LIMIT:
                self.advance(self.clock + 0.001)
        return self.clock

    def sleep(self, actor: Actor, seconds: float) -> None:
        """Wait for the clock; others may go first."""
        if self.recorder is not None:
            self.recorder.event(actor, "sleep", detail=f"{seconds:g} s")
        self.polls += 1
        if self.polls > _POLL_LIMIT:
            self._livelock(actor)
        self.block(actor, Waiting("sleep", is_timer=True), self.clock + max(0.0, seconds))

    def advance(self, to: float) -> None:
        """Move the clock and enable everybody whose time has come."""
        self.clock = max(self.clock, to)
        self.reads = 0
        due = [
            actor
            for actor in self.actors
            if actor.waiting is not None
            and actor.deadline is not None
            and actor.deadline <= self.clock
        ]
        for actor in sorted(due, key=lambda actor: (actor.deadline, actor.number)):
            self._forget_wait(actor)
            actor.timed_out = True
            self._enable(actor)

    # ------------------------------------------------------------------ the exploring thread

    def run(self, watch: Callable[[Scheduler], bool]) -> None:
        """
        Start the first actor and wait until all is over.

        Args:
            watch: Called again and again meanwhile; True gives the run up.
        """
        first = self._next(None)
        if first is None:
            return
        self._hand_to(first)
        while not self.finished.acquire(timeout=0.05):
            if watch(self):
                return

    def abort(self) -> None:
        """From the actor that holds the baton: end the run, everybody unwinds in turn."""
        self.aborting = True

    # ------------------------------------------------------------------ inside

    def _actor(self, number: int) -> Actor:
        for actor in self.actors:
            if actor.number == number:
                return actor
        raise LookupError(number)  # pragma: no cover - options are actors

    def _enable(self, actor: Actor) -> None:
        if actor.done or actor in self._enabled:
            return
        self._enabled.append(actor)
        self._enabled.sort(key=_number)
        self._options = None

    def _forget_wait(self, actor: Actor) -> None:
        if actor.waiting is not None and actor.waiting.is_timer:
            self._sleepers -= 1
        actor.waiting = None

    def _sleeper(self) -> Actor | None:
        """
        Whose time would come first, while there are timers: it may come at any moment.

        A time-out that comes before the timer does comes first here, too.
        """
        if not self._sleepers:
            return None
        return min(
            (a for a in self.actors if a.waiting is not None and a.deadline is not None),
            key=lambda a: (a.deadline, a.number),
        )

    def _preempt_options(self, actor: Actor) -> tuple[int, ...]:
        others = [other.number for other in self._enabled if other is not actor]
        sleeper = self._sleeper()
        if sleeper is not None:
            others.append(sleeper.number)
        return (actor.number, *others)

    def _next(self, actor: Actor | None, after: Actor | None = None) -> Actor | None:
        """Who goes on where `actor` cannot (or will not). None: nobody, ever; the run is over."""
        if not self._enabled and not self._sleepers and not self._pass_time():
            return None
        ready = list(self._enabled)
        if after is not None:  # in turn, so that two that spin cannot starve a third
            ready.sort(key=lambda other: (other.number <= after.number, other.number))
        sleeper = self._sleeper()
        if sleeper is not None:
            ready.append(sleeper)
        target = ready[0]
        if len(ready) > 1:
            number = -1 if actor is None else actor.number
            visit = 0
            if actor is not None:
                visit = actor.forced_visits
                actor.forced_visits = visit + 1
            options = tuple(other.number for other in ready)
            site = -1 if actor is None else actor.last_site
            to = self._choose("forced", number, visit, options, site)
            if to not in options:
                to = options[0]
            self.decisions.append(("forced", number, visit, options, to, site))
            target = ready[options.index(to)]
        return target

    def _pass_time(self) -> bool:
        """Nobody is ready: go to the next deadline. False: nobody waits for the clock."""
        if all(actor.done for actor in self.actors if actor.is_participant):
            self.over = True
            self.aborting = True
            return False
        if self._released_outside():
            return True
        times = [a.deadline for a in self.actors if a.waiting and a.deadline is not None]
        if not times:
            # Described at once: while they unwind, everybody gives back what they hold.
            self.deadlock = describe_deadlock(self.actors)
            self.aborting = True
            return False
        self.advance(min(times))
        return True

    def _released_outside(self) -> bool:
        """Whether a thread outside the run has given back, or will, what actors wait for."""
        locks = [
            actor.waiting.thing
            for actor in self.actors
            if actor.waiting is not None and actor.waiting.what == "lock"
        ]
        patience = 20 if any(lock.owner is None and lock.locked_now() for lock in locks) else 1
        for _ in range(patience):
            free = [lock for lock in locks if not lock.locked_now()]
            for lock in free:
                lock.wake(self)
            if free:
                return True
            if patience > 1:
                raw.sleep(0.005)
        return False

    def _turn_to(self, actor: Actor, target: Actor) -> None:
        """Give the baton away and wait until it comes back."""
        self._hand_to(target)
        actor.baton.acquire()
        if self.aborting:
            raise Unwind

    def _hand_to(self, target: Actor) -> None:
        if target.waiting is not None:  # a sleeper: time passes for it
            self.advance(target.deadline or self.clock)
        if self.running is not target:
            self.progress += 1
            target.spins = 0
        self.running = target
        self._options = None
        self.clean = True
        if target.begin is not None and not self._begin(target):
            self._unwind_next()
            return
        target.baton.release()

    def _begin(self, actor: Actor) -> bool:
        """Start the thread of a participant whose first turn has come."""
        begin, actor.begin = actor.begin, None
        assert begin is not None
        try:
            begin()
        except RuntimeError as error:
            self.uncontrolled.append(f"The thread of {actor.name} could not be started: {error}.")
            self.never_lived(actor)
            return False
        return True

    def never_lived(self, actor: Actor) -> None:
        """Forget an actor whose thread could not be started."""
        actor.done = True
        if actor in self._enabled:
            self._enabled.remove(actor)
        self._options = None

    def _unwind_next(self) -> None:
        """The run is over: wake one that is still inside, or the exploring thread."""
        self.aborting = True
        for actor in self.actors:
            if actor.begin is not None:  # it has not begun, and never will
                actor.begin = None
                actor.done = True
            elif not actor.done:
                self.running = actor
                actor.baton.release()
                return
        self.running = None
        self.finished.release()

    def _give_up(self, actor: Actor) -> None:
        if self.options.usual_points is not None:
            self._livelock(actor)
        self.uncontrolled.append(
            f"{actor.name} was stopped after {self.points} switch points: a very long or endless "
            "loop. Raise the limit, or give it less to do."
        )
        self.aborting = True
        raise Unwind

    def _livelock(self, actor: Actor) -> NoReturn:
        self.livelocked = actor
        self.aborting = True
        raise Unwind


def _nothing() -> None:
    """No tracing."""


def _number(actor: Actor) -> int:
    return actor.number


def _by_actor(chooser: Chooser) -> dict[int, dict[int, int]] | None:
    """The preemptions of a fixed schedule, to be looked up without a call at every point."""
    fixed: Mapping[tuple[int, int], int] | None = getattr(chooser, "preempts", None)
    if fixed is None:
        return None
    plans: dict[int, dict[int, int]] = {}
    for (actor, visit), to in fixed.items():
        plans.setdefault(actor, {})[visit] = to
    return plans
