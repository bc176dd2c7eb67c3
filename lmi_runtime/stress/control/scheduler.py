"""
One run: real threads that take turns, in virtual time.

Exactly one actor holds the baton; everything here is touched by its holder only, so none of it
needs a lock. A hand-off releases the next actor's real lock and takes one's own. The thread that
explores holds no baton: it waits for the end and is the watchdog meanwhile.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from types import FrameType

from lmi_runtime.stress.control.active import found
from lmi_runtime.stress.control.actors import Actor, Unwind, Waiting
from lmi_runtime.stress.control.deadlock import describe_deadlock
from lmi_runtime.stress.control.outside import wait_for_outsiders
from lmi_runtime.stress.control.raw import get_ident
from lmi_runtime.stress.control.recorder import Recorder
from lmi_runtime.stress.control.timing import Timing
from lmi_runtime.stress.control.turns import by_actor
from lmi_runtime.stress.control.watchdog import LOOK_PAUSE_S
from lmi_runtime.stress.model import Deviation, DeviationKind
from lmi_runtime.stress.program import Chooser, Complaint, RunOptions

__all__ = ["TIME_PASSES", "Scheduler"]

TIME_PASSES = -1
"""Option of an event loop: go on to the next timer although something is ready."""

_SPIN_LIMIT = 1_000
"""Backward jumps in a row until others get a turn: a thread that spins would never end."""

_IDLE_SPIN_LIMIT = 2
"""The same for a loop that does nothing but look: it waits for somebody else."""

_STILL_LIMIT = 20
"""Looks of one actor at what has not changed, until only time or others can change it."""

_POLL_LIMIT = 10_000
"""Sleeps in a row that changed nothing for anybody until waiting counts as livelock."""


_LIVELOCK_FACTOR = 50
"""A run of so many times the usual number of points does not end by itself."""

_LIVELOCK_POINTS = 20_000
"""No run is called endless before it has passed so many points."""


class Scheduler(Timing):
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
        super().__init__(options)
        self.recorder = recorder
        self.decisions: list[tuple[DeviationKind, int, int, tuple[int, ...], int, int]] = []
        self.clean = True
        self.progress = 0
        self.waits_outside = False  # for threads that take no part; for so long, and no longer
        self.polls = 0
        self.deadlock: Complaint | None = None
        self.thread_errors: list[tuple[Actor, BaseException]] = []
        self.on_second_actor: list[Callable[[], None]] = []
        self.numbers = itertools.count()
        self.hashes = itertools.count()
        self.seeded: random.Random | None = None
        self.chances: dict[int, random.Random] = {}
        self.enter_thread: Callable[[], None] = _nothing
        self.leave_thread: Callable[[], None] = _nothing
        self._choose = chooser.choose
        self._preempts = by_actor(chooser)
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
        self.turns.enable(actor)
        self.thread_count += 1
        if self.thread_count == 2:
            self._several = True
            for hook in self.on_second_actor:
                hook()
        return actor

    def adopt(self, actor: Actor) -> None:
        """Called first in the actor's own thread: waits for its first turn."""
        actor.ident = get_ident()
        actor.baton.acquire()
        actor.entered = True
        if self.aborting:
            raise Unwind

    def end(self, actor: Actor) -> None:
        """Called last in the actor's own thread: hands the baton on."""
        if actor.lost:
            found(actor.ident)
            return
        actor.done = True
        actor.waiting = None
        self.progress += 1
        if self.recorder is not None:
            self.recorder.end(actor)
        for other in self.actors:
            if other.waiting is not None and other.waiting.thing is actor:
                self.wake(other)
        self.turns.ended(actor)
        self.clean = True
        if not self.aborting:
            target = self._next(actor)
            if target is not None:
                self._hand_to(target)
                return
        self.unwind_next()

    # ------------------------------------------------------------------ deciding

    def point(self, actor: Actor, site: int) -> None:
        """A place where `actor` may be preempted. Returns when it is its turn again."""
        if self.aborting:
            self.unwind(actor)
        self.clean = True
        self.points += 1
        actor.last_site = site
        if not self._several:
            return
        visit = actor.visits
        actor.visits = visit + 1
        if self.points > self._max_points:
            self.give_up(actor)
        options = self.turns.choices(actor)
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

    def spin(self, actor: Actor, site: int, frame: FrameType) -> None:
        """A backward jump: after very many without a pause the others get a turn."""
        if self.aborting:
            self.unwind(actor)
        actor.spins += 1
        if actor.busy:
            actor.busy = False
            actor.idle_spins = 0
            actor.still = 0
        else:
            actor.idle_spins += 1
        if actor.idle_spins > _IDLE_SPIN_LIMIT:
            actor.look(frame)
            self._let_others(actor, site)
        elif actor.spins > _SPIN_LIMIT:
            self._let_others(actor, site)

    def give_way(self, actor: Actor) -> None:
        """A step of an event loop: after very many without a pause the others get a turn."""
        actor.spins += 1
        if actor.spins > _SPIN_LIMIT:
            self._let_others(actor, actor.last_site)

    def _let_others(self, actor: Actor, site: int) -> None:
        """Put `actor` last; not a choice, or a spinning thread would be chosen for ever."""
        actor.spins = actor.idle_spins = 0
        actor.last_site = site
        turns = self.turns
        if actor.still > _STILL_LIMIT and all(each.still > _STILL_LIMIT for each in turns.ready):
            self._nothing_moves(actor)
        turns.disable(actor)
        if turns.ready or turns.timers:
            target = self._next(actor, after=actor)
            turns.enable(actor)
            if target is not None:
                self._turn_to(actor, target)
        else:
            turns.enable(actor)

    def _nothing_moves(self, actor: Actor) -> None:
        """Whoever is ready only looks, again and again, at what does not change: time passes."""
        soonest = self._soonest()
        for each in self.turns.ready:
            each.still = 0
        if soonest is not None:
            self.advance(soonest)
        elif not wait_for_outsiders(self, self.options.watchdog_s) and not self.uncontrolled:
            self.livelock(actor)

    def block(
        self, actor: Actor, waiting: Waiting, deadline: float | None = None, site: int = -1
    ) -> bool:
        """
        Stop until somebody wakes `actor` or its time has come.

        Returns:
            False when the deadline came first.
        """
        if self.aborting:
            self.unwind(actor)
        actor.waiting = waiting
        actor.deadline = deadline
        actor.timed_out = False
        self.turns.waits(actor)
        if site >= 0:
            actor.last_site = site
        self.clean = True
        actor.still = 0
        self.calm()
        target = self._next(actor)
        if target is None:
            self.unwind_next()
            actor.baton.acquire()
            raise Unwind
        if target is not actor:
            self._turn_to(actor, target)
        elif actor.waiting is not None:  # it is to go on at once: its time passes
            self.advance(actor.deadline or self.clock)
        return not actor.timed_out

    def wake(self, actor: Actor) -> None:
        """What `actor` waited for may have come: it competes again."""
        self.turns.waits_no_more(actor)
        self.progress += 1
        self.polls = 0
        self.turns.enable(actor)

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
            self.give_up(actor)

    def taken(self) -> tuple[Deviation, ...]:
        """The deviations of this run."""
        return tuple(
            Deviation(kind, actor, visit, to)
            for kind, actor, visit, options, to, _ in self.decisions
            if to != options[0]
        )

    # ------------------------------------------------------------------ time

    def sleep(self, actor: Actor, seconds: float) -> None:
        """Wait for the clock; others may go first."""
        if self.recorder is not None:
            self.recorder.event(actor, "sleep", detail=f"{seconds:g} s")
        self.polls += 1
        if self.polls > _POLL_LIMIT:
            self.livelock(actor)
        actor.naps = actor.naps + 1 if actor.napped_at == self.progress else 0
        actor.napped_at = self.progress
        self.block(actor, Waiting("sleep", is_timer=True), self.clock + max(0.0, seconds))

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
        while not self.finished.acquire(timeout=LOOK_PAUSE_S):
            if watch(self):
                return

    # ------------------------------------------------------------------ inside

    def _actor(self, number: int) -> Actor:
        for actor in self.actors:
            if actor.number == number:
                return actor
        raise LookupError(number)  # pragma: no cover - options are actors

    def _next(self, actor: Actor | None, after: Actor | None = None) -> Actor | None:
        """Who goes on where `actor` cannot (or will not). None: nobody, ever; the run is over."""
        turns = self.turns
        if not turns.ready and not turns.timers and not self._pass_time():
            return None
        ready = turns.candidates(after)
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
            self.aborting = True
            return False
        if wait_for_outsiders(self, self.options.watchdog_s):
            return True
        soonest = self._soonest()
        if soonest is None:
            # Described at once: while they unwind, everybody gives back what they hold.
            self.deadlock = describe_deadlock(self.actors)
            self.aborting = True
            return False
        self.advance(soonest)
        return True

    def _soonest(self) -> float | None:
        """When the first time comes that anybody waits for; None if nobody does."""
        times = (a.deadline for a in self.actors if a.waiting and a.deadline is not None)
        return min(times, default=None)

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
        self.turns.moved()
        self.clean = True
        if target.begin is not None and not self._begin(target):
            self.unwind_next()
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


def _nothing() -> None:
    """No tracing."""
