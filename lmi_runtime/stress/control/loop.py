"""
An event loop whose every step is a decision, in virtual time.

It is hosted by one actor of the thread scheduler, so tasks, `to_thread` jobs and executors are
scheduled by one chooser in one run.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import itertools
import weakref
from asyncio import base_events, events
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from lmi_runtime.stress.control.actors import Actor, Unwind, Waiting
from lmi_runtime.stress.control.following import (
    Follower,
    RecordedFuture,
    RecordedTask,
    RunFuture,
    RunTask,
)
from lmi_runtime.stress.control.hashes import Ordered
from lmi_runtime.stress.control.scheduler import TIME_PASSES, Scheduler
from lmi_runtime.stress.control.sites import site_at_code
from lmi_runtime.stress.control.stuck import Stuck, innermost, stuck_tasks
from lmi_runtime.stress.control.uncontrolled import Refuses

__all__ = ["ControlledLoop", "cancel_option"]

LOOP_START_S = 1_000.0
"""What `loop.time()` says when a run begins."""

_PATIENCE = 500
"""Steps in a row until time passes although something is always ready."""

PASSED_OVER = 100
"""So often others may go first; then the oldest must, or polling callbacks would go on for ever."""

_CALLBACKS = -2
"""Lane of what no task owns: callbacks keep the order in which they were registered."""

_TASKS = (asyncio.Task, asyncio.tasks._PyTask)  # type: ignore[attr-defined]
_SOON_S = 1e-9  # what is due within this is due: sums of floats are not exact


class _Timer(events.TimerHandle):
    """One of several that are due at once goes first if it was made first."""

    __slots__ = ("order", "patient", "speaker")

    _when: float
    order: int
    patient: bool
    speaker: int

    def __lt__(self, other: Any) -> bool:
        return (self._when, self.order) < (other._when, other.order)


_Ready = tuple[int, Any, int]
"""Lane, what to run, and the number of the task or actor that asked for it."""


class ControlledLoop(Refuses, base_events.BaseEventLoop):
    """
    Runs one ready callback at a time, the one the chooser says.

    Attributes:
        cancellable: Numbers of the tasks to which cancellation is offered.
        cancelled: Numbers of those which were.
        awaited: Numbers of the tasks at whose end the loop stops.

    Thread safety: of one actor, but for `call_soon_threadsafe`.
    """

    _ready: deque[_Ready]
    _scheduled: list[_Timer]
    _stopping: bool
    _closed: bool
    _timer_cancelled_count: int
    _task_factory: Any

    def __init__(self, run: Scheduler, actor: Actor) -> None:
        self.__dict__.update(_TEMPLATE)
        for attribute, kind in _FRESH:
            self.__dict__[attribute] = kind()
        self.__dict__["_asyncgens"] = Ordered()
        self._run_of = run
        self._actor = actor
        self._self = actor.speaker  # whose steps those are that no task takes
        self._numbers: dict[int, int] = {}  # by identity; the tasks are kept below
        self._tasks: dict[int, Any] = {}
        self._timers = itertools.count()
        self._follow = None if run.recorder is None else Follower(run, actor, self)
        self._round = 0  # so many are left until timers are looked at, as in the stock loop
        self._passed = 0  # so many decisions in a row the oldest had to wait
        self._steps = 0
        self._made = 0
        self._chooses = True
        self._suspended: set[int] = set()  # of those that are cancellable
        self.cancellable: set[int] = set()
        self.cancelled: set[int] = set()
        self.awaited: set[int] = set()

    def time(self) -> float:
        """Virtual seconds."""
        return LOOP_START_S + self._run_of.clock

    def create_task(  # type: ignore[override]
        self, coro: Any, *, name: str | None = None, **kwargs: Any
    ) -> Any:
        """See asyncio. Tasks without a name get one that is the same in every run."""
        self._made += 1
        name = name or f"{getattr(coro, '__qualname__', 'task').rpartition('.')[2]}#{self._made}"
        follow = self._follow
        if self._task_factory is None and not self._closed:
            kind = RunTask if follow is None else RecordedTask
            task: Any = kind(coro, loop=self, name=name, **kwargs)
        else:
            task = super().create_task(coro, name=name, **kwargs)
        if follow is not None:
            follow.spawned(task, self.number_of(task))
        elif not task.done():  # as those are that were started eagerly
            self.number_of(task)
        return task

    def create_future(self) -> asyncio.Future[Any]:
        """See asyncio."""
        return RunFuture(loop=self) if self._follow is None else RecordedFuture(loop=self)

    # ------------------------------------------------------------------ what is to be run

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.Handle:
        """See asyncio."""
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = events.Handle(callback, args, self, context)
        owner = getattr(callback, "__self__", None)
        lane = self.number_of(owner) if isinstance(owner, _TASKS) else _CALLBACKS
        self._ready.append((lane, handle, self._actor.speaker))
        if self._follow is not None:
            self._follow.scheduled(lane, handle, args)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.Handle:
        """See asyncio."""
        if self._run_of.running is self._actor:
            return self.call_soon(callback, *args, context=context)
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = events.Handle(callback, args, self, context)
        self._ready.append((_CALLBACKS, handle, self._self))
        if self._follow is not None:
            self._follow.sent(handle)
        waiting = self._actor.waiting
        if waiting is not None and waiting.thing is self:
            self._run_of.wake(self._actor)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> events.TimerHandle:
        """See asyncio."""
        if when is None:
            raise TypeError("when cannot be None")
        if self._closed:
            raise RuntimeError("Event loop is closed")
        timer = _Timer(when, callback, args, self, context)
        timer.order = next(self._timers)
        timer.speaker = self._actor.speaker
        # The time-out of a wait fires when nobody can go on, as those of threads do.
        timer.patient = getattr(callback, "is_time_out", False)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def _add_callback(self, handle: events.Handle) -> None:
        self._ready.append((_CALLBACKS, handle, self._self))

    # ------------------------------------------------------------------ one step

    def _run_once(self) -> None:
        run, actor = self._run_of, self._actor
        if run.aborting:
            raise Unwind
        ready = self._ready
        while True:
            if self._round <= 0:
                if self._scheduled:
                    self._move_due()
                self._round = len(ready)
            if not ready:
                if self._stopping:
                    return
                self._wait()
                continue
            chosen = self._choose()
            if chosen is not None:
                break
        if run.thread_count > 1:
            run.give_way(actor)  # callbacks that ask again and again wait for others
        lane, handle, speaker = chosen
        self._steps += 1
        if self._steps > _PATIENCE and self._scheduled:
            self._let_time_pass()  # somebody asks again and again whether time has passed
        offers = run.options.cancels and lane in self.cancellable
        if offers and lane in self._suspended:
            self._offer_cancel(lane)
        actor.speaker = lane if lane >= 0 else speaker
        run.clean = False
        follow = self._follow
        if follow is not None:
            follow.run(lane, handle, self._tasks.get(lane))
        elif lane >= 0:  # a task catches what it raises
            handle._context.run(handle._callback, *handle._args)
        else:
            handle._run()
        actor.speaker = self._self
        if lane in self.awaited and self._tasks[lane].done():
            self.awaited.discard(lane)
            self._stopping = self._stopping or not self.awaited
        elif offers:
            self._suspended.add(lane)
            self._offer_cancel(lane)

    def _choose(self) -> _Ready | None:
        """What runs next; None if time passed instead, or nothing is left of what was ready."""
        run, ready = self._run_of, self._ready
        if len(ready) == 1 and not self._scheduled:
            run.count_step(self._actor)
            return self._oldest()
        lanes = dict.fromkeys([lane for lane, handle, _ in ready if not handle._cancelled])
        if not lanes:
            ready.clear()
            self._round = 0
            return None
        if self._scheduled and not self._scheduled[0].patient:
            lanes[TIME_PASSES] = None
        if len(lanes) == 1 or not self._chooses or self._passed > PASSED_OVER:
            run.count_step(self._actor)
            return self._oldest()
        options = tuple(lanes)
        first = options[0]
        site = self._actor.last_site = self._site(first)
        to = run.decide("task", self._actor, options, site)
        if to == first:
            return self._oldest()
        self._passed += 1
        if run.recorder is not None:
            run.recorder.deviation(self._actor, site)
        if to == TIME_PASSES:
            self._let_time_pass()
            return None
        return self._take(to)

    def _oldest(self) -> _Ready | None:
        ready = self._ready
        self._passed = 0
        while ready:
            item = ready.popleft()
            self._round -= 1
            if not item[1]._cancelled:
                return item
        return None

    def _take(self, lane: int) -> _Ready:
        ready = self._ready
        for index, item in enumerate(ready):
            if item[0] == lane and not item[1]._cancelled:
                del ready[index]
                self._round -= 1
                return item
        raise AssertionError(f"lane {lane} has nothing ready")

    def number_of(self, task: Any) -> int:
        """The number of `task` among all actors, given when it is first seen."""
        number = self._numbers.get(id(task))
        if number is None:
            number = next(self._run_of.numbers)
            self._numbers[id(task)] = number
            self._tasks[number] = task
            if self._run_of.recorder is not None:
                self._run_of.recorder.person(number, task.get_name(), "task", None)
        return number

    def _site(self, lane: int) -> int:
        """Where the task of this lane would go on."""
        task = self._tasks.get(lane)
        frame = None if task is None else innermost(task.get_coro())
        return -1 if frame is None else site_at_code(frame.f_code, frame.f_lasti, frame.f_lineno)

    def _offer_cancel(self, lane: int) -> None:
        task = self._tasks[lane]
        if lane in self.cancelled or lane not in self.cancellable or task.done():
            return
        site = self._site(lane)
        run = self._run_of
        if run.decide("cancel", self._actor, (lane, cancel_option(lane)), site) != lane:
            self.cancelled.add(lane)
            if run.recorder is not None:
                run.recorder.deviation(self._actor, site)
                run.recorder.event(self._actor, "cancel", detail=task.get_name())
            task.cancel()

    # ------------------------------------------------------------------ time

    def _let_time_pass(self) -> None:
        self._steps = 0
        self._run_of.advance(self._scheduled[0]._when - LOOP_START_S)
        self._move_due()

    def _move_due(self) -> None:
        due = self.time() + _SOON_S
        scheduled = self._scheduled
        while scheduled and (scheduled[0]._cancelled or scheduled[0]._when <= due):
            timer = heapq.heappop(scheduled)
            timer._scheduled = False  # type: ignore[attr-defined]
            if timer._cancelled:
                self._timer_cancelled_count -= 1
            else:
                self._ready.append((_CALLBACKS, timer, timer.speaker))

    def _wait(self) -> None:
        """Nothing is ready: other actors go on, or time passes."""
        deadline = None
        if self._scheduled:
            deadline = self._scheduled[0]._when - LOOP_START_S
        waiting = Waiting("loop", self, is_timer=deadline is not None)
        self._run_of.block(self._actor, waiting, deadline)

    # ------------------------------------------------------------------ when it is over

    def settle(self) -> None:
        """As `asyncio.run` does at its end: cancel what is left, and let it clean up."""
        self._chooses = False
        left = [number for number, task in self._tasks.items() if not task.done()]
        if left:
            for number in left:
                self._tasks[number].cancel()
            self.awaited = set(left)
            self.run_forever()
        if self._asyncgens:  # type: ignore[attr-defined]
            self.run_until_complete(self.shutdown_asyncgens())

    def rest(self) -> None:
        """Close, although tasks may be stuck, without a word on stderr."""
        for task in self._tasks.values():
            if not task.done():
                task._log_destroy_pending = False
                coroutine = task.get_coro()
                if inspect.iscoroutine(coroutine):
                    _quietly(coroutine.close)
        self._ready.clear()
        self._scheduled.clear()
        _quietly(self.close)
        # Nothing is left to the collector, which is off while runs go on.
        self._tasks.clear()
        self._numbers.clear()

    def stuck(self) -> list[Stuck]:
        """What each task waits for that would let others go on."""
        return stuck_tasks(list(self._tasks.values()))

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """See asyncio. What a callback raised is a failure; what nobody asked for is not."""
        error = context.get("exception")
        if "handle" in context and isinstance(error, Exception):
            self._run_of.thread_errors.append((self._actor, error))

    def _write_to_self(self) -> None:
        """Nobody selects."""

    def _process_events(self, event_list: Any) -> None:
        """Nobody selects."""


def _template() -> dict[str, Any]:
    """What `BaseEventLoop.__init__` sets: it reads clocks and files, too slow for every run."""
    loop = base_events.BaseEventLoop()
    loop._closed = True  # type: ignore[attr-defined]
    values = dict(vars(loop))
    values["_closed"] = False
    return values


_TEMPLATE = _template()
_FRESH = [
    (name, type(value))
    for name, value in _TEMPLATE.items()
    if isinstance(value, list | dict | set | deque | weakref.WeakSet)
]


def _quietly(close: Callable[[], object]) -> None:
    """What the run left behind may object."""
    try:
        close()
    except (Exception, Unwind):
        return


def cancel_option(lane: int) -> int:
    """The option of a decision that cancels the task `lane`."""
    return -3 - lane
