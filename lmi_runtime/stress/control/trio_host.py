"""
Trio under control: its own run loop, with order, time and waiting taken over.

Trio keeps its tasks in a queue, asks a clock what time it is and an I/O manager to wait. Those
three are replaced for each run of it; everything else is Trio. Its insides are used for that, as
its guest mode uses them; they are looked for when control begins, not when this is imported.
"""

from __future__ import annotations

import functools
import itertools
import queue
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lmi_runtime.stress.control.active import caller
from lmi_runtime.stress.control.actors import Actor, Unwind, Waiting
from lmi_runtime.stress.control.hashes import hash_of
from lmi_runtime.stress.control.locks import INTERNAL
from lmi_runtime.stress.control.loop import LOOP_START_S, PASSED_OVER, cancel_option
from lmi_runtime.stress.control.raw import RawRLock
from lmi_runtime.stress.control.scheduler import TIME_PASSES, Scheduler
from lmi_runtime.stress.control.sites import site_at_code
from lmi_runtime.stress.control.stuck import Stuck, innermost, stuck_in_trio
from lmi_runtime.stress.control.uncontrolled import refuse
from lmi_runtime.stress.program import Ended, Participant

__all__ = ["TrioHost", "replacements"]

_SYSTEM = -2
"""Lane of Trio's own tasks."""

_PATIENCE = 500
"""Steps in a row until time passes although something is always ready."""


def inside() -> Any:
    """Where Trio's run loop is; nothing if it has not been imported."""
    return sys.modules.get("trio._core._run")


def replacements() -> Iterator[tuple[Any, str, Any]]:
    """Module, name and what stands in there, for as long as control lasts."""
    running = inside()
    if running is None or "trio._core._thread_cache" not in sys.modules:
        return
    yield running, "setup_runner", _setting_up(running.setup_runner)
    # Deadlines that are equal are kept in the order of identities, which is that of memory.
    yield running, "id", hash_of
    yield running.Task, "__hash__", hash_of
    yield running.CancelStatus, "__hash__", hash_of
    threads = sys.modules["trio._core._thread_cache"]
    yield threads, "THREAD_CACHE", _Threads(threads)

    for kind in _messages():
        yield kind, "__init__", _with_queue(kind.__init__)


def _messages() -> Iterator[Any]:
    """What a thread asks of Trio carries a queue, whose class was taken before control began."""
    module = sys.modules.get("trio._threads")
    for name in ("Run", "RunSync"):
        kind = getattr(module, name, None)
        if kind is not None:
            yield kind


def _with_queue(real: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(real)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        object.__setattr__(self, "queue", queue.SimpleQueue())

    return __init__


class _Threads:
    """
    Trio's cache of threads; each run has its own, with the same names.

    Thread safety: as the cache that it stands for.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._real = module.THREAD_CACHE
        self._run: Scheduler | None = None
        self._cache: Any = None

    def start_thread_soon(self, fn: Any, deliver: Any, name: str | None = None) -> None:
        """See Trio."""
        here = caller()
        if here is None:
            self._real.start_thread_soon(fn, deliver, name)
            return
        if here[0] is not self._run:
            self._run = here[0]
            self._cache = self._module.ThreadCache()
            self._module.name_counter = itertools.count()
        self._cache.start_thread_soon(fn, deliver, name)


def _setting_up(real: Callable[..., Any]) -> Callable[..., Any]:
    def setup_runner(clock: Any, instruments: Sequence[Any], *settings: Any) -> Any:
        here = caller()
        if here is None:
            return real(clock, instruments, *settings)
        tasks = Tasks(*here)
        runner = real(_Clock(here[0]), [*instruments, tasks], *settings)
        tasks.take_over(runner)
        return runner

    return setup_runner


class Tasks:
    """
    Decides which task of one Trio run goes on; an instrument and the I/O manager of it.

    Thread safety: of one actor.
    """

    def __init__(self, run: Scheduler, actor: Actor) -> None:
        self._run = run
        self._actor = actor
        self._self = actor.speaker
        self._runner: Any = None
        self._numbers: dict[Any, int] = {}
        self._started: set[int] = set()
        self._unwinds = False
        self.is_host = False  # the main task is the harness's
        self._passed = 0
        self._steps = 0
        self.scopes: dict[int, Any] = {}  # of the participants, by number of the task
        self.cancelled: set[int] = set()

    def take_over(self, runner: Any) -> None:
        """Replace what `runner` waits with and by what order it runs."""
        self._runner = runner
        runner.io_manager.close()
        runner.io_manager = self
        runner.entry_queue.close()
        runner.entry_queue.wakeup = _Wakeup(self)
        runner.entry_queue.lock = RawRLock()
        runner.runq = _Queue(self)

    def number_of(self, task: Any) -> int:
        """The number of `task` among all actors, given when it is first seen."""
        number = self._numbers.get(task)
        if number is None:
            number = self._numbers[task] = next(self._run.numbers)
            if self._run.recorder is not None:
                name = task.name.rpartition(".")[2]
                self._run.recorder.person(number, name, "task", None)
        return number

    # ------------------------------------------------------------------ who goes on

    def choose(self, ready: _Queue) -> Any:
        """The task that goes on."""
        if self._run.aborting:
            raise Unwind
        if self._run.thread_count > 1:
            self._run.give_way(self._actor)
        while True:
            lanes: dict[int, Any] = {}
            for task in ready.oldest_first():
                lanes.setdefault(self._lane(task), task)
            options = (*lanes, TIME_PASSES) if self._next_deadline() is not None else tuple(lanes)
            self._steps += 1
            if self._steps > _PATIENCE and options[-1] == TIME_PASSES:
                self._let_time_pass()  # somebody asks again and again whether time has passed
                continue
            if len(options) == 1 or self._passed > PASSED_OVER:
                self._passed = 0
                self._run.count_step(self._actor)
                return lanes[options[0]]
            site = self._actor.last_site = _site(lanes[options[0]])
            to = self._run.decide("task", self._actor, options, site)
            self._passed = self._passed + 1 if to != options[0] else 0
            if to != options[0] and self._run.recorder is not None:
                self._run.recorder.deviation(self._actor, site)
            if to != TIME_PASSES:
                return lanes[to]
            self._let_time_pass()

    def _lane(self, task: Any) -> int:
        init = self._runner.init_task
        if init is None or task is init:
            return _SYSTEM
        if task.parent_nursery is not None and task.parent_nursery.parent_task is init:
            is_users = task is self._runner.main_task and not self.is_host
            return self.number_of(task) if is_users else _SYSTEM
        return self.number_of(task)

    def _next_deadline(self) -> float | None:
        deadline: float = self._runner.deadlines.next_deadline()
        return None if deadline == float("inf") else deadline - LOOP_START_S

    def _let_time_pass(self) -> None:
        self._steps = 0
        deadline = self._next_deadline()
        assert deadline is not None
        self._run.advance(deadline)
        self._runner.deadlines.expire(self._runner.clock.current_time())

    def _offer_cancel(self, number: int, task: Any) -> None:
        scope = self.scopes.get(number)
        if scope is None or number in self.cancelled or not self._run.options.cancels:
            return
        site = _site(task)
        options = (number, cancel_option(number))
        if self._run.decide("cancel", self._actor, options, site) != number:
            self.cancelled.add(number)
            if self._run.recorder is not None:
                self._run.recorder.deviation(self._actor, site)
                self._run.recorder.event(self._actor, "cancel", detail=task.name)
            scope.cancel()

    # ------------------------------------------------------------------ as an instrument

    def before_task_step(self, task: Any) -> None:
        """See `trio.abc.Instrument`."""
        lane = self._lane(task)
        if lane in self._started:
            self._offer_cancel(lane, task)
        self._actor.speaker = lane if lane >= 0 else self._self
        self._run.clean = False
        if self._run.recorder is not None and lane >= 0:
            kind: Any = "wake" if lane in self._started else "start"
            self._note(kind, task)
        self._started.add(lane)

    def after_task_step(self, task: Any) -> None:
        """See `trio.abc.Instrument`."""
        lane = self._lane(task)
        if task.coro.cr_frame is not None:
            if self._run.recorder is not None and lane >= 0:
                self._run.recorder.event(self._actor, "await", frame=innermost(task.coro))
            self._actor.speaker = self._self
            self._offer_cancel(lane, task)
        self._actor.speaker = self._self

    def task_spawned(self, task: Any) -> None:
        """See `trio.abc.Instrument`."""
        if self._run.recorder is not None and self._lane(task) >= 0:
            self._note("spawn", task)

    def task_scheduled(self, task: Any) -> None:
        """See `trio.abc.Instrument`."""
        if self._run.recorder is not None:
            for nursery in task.child_nurseries:
                self._note("wake", nursery)
            self._note("notify", task)

    def task_exited(self, task: Any) -> None:
        """See `trio.abc.Instrument`."""
        if self._run.recorder is not None:
            if self._lane(task) >= 0:
                self._note("end", task, "")
            if task.parent_nursery is not None:
                self._note("wake", task.parent_nursery)
                self._note("notify", task.parent_nursery)

    def _note(self, kind: Any, thing: Any, detail: str = INTERNAL) -> None:
        assert self._run.recorder is not None
        self._run.recorder.event(self._actor, kind, thing, detail=detail)

    # ------------------------------------------------------------------ as an I/O manager

    def get_events(self, timeout: float) -> tuple[()]:
        """Nothing is ready: other actors go on, or time passes."""
        runner = self._runner
        if runner.runq or timeout <= 0:
            return ()
        deadline = self._next_deadline()
        if runner.waiting_for_idle:  # somebody wants to know when nothing moves any more
            deadline = self._run.clock + timeout
        waiting = Waiting("loop", self, is_timer=deadline is not None)
        try:
            self._run.block(self._actor, waiting, deadline)
        except Unwind:
            self._unwinds = True  # by the next call, which Trio makes from inside its run loop
        return ()

    def process_events(self, events: Any) -> None:
        """There are none but those that `wake` brings."""
        if self._unwinds:
            raise Unwind

    def wake(self) -> None:
        """Something is in the entry queue; by any actor that holds the baton."""
        waiting = self._actor.waiting
        if waiting is not None and waiting.thing is self:
            self._run.wake(self._actor)

    def stuck(self) -> list[Stuck]:
        """What each task waits for that would let others go on."""
        return stuck_in_trio([task for task in self._numbers if self._lane(task) >= 0])

    def statistics(self) -> None:
        """See Trio."""

    def close(self) -> None:
        """The run is over: close what did not end, without a word on stderr."""
        left = list(self._numbers)
        self._numbers.clear()
        for task in left:
            for nursery in (*task.child_nurseries, task.parent_nursery):
                if nursery is not None:
                    nursery._children.clear()
        for task in left:
            try:
                task.coro.close()
            except (Exception, Unwind):
                continue

    def force_wakeup(self) -> None:
        """See `wake`."""
        self.wake()

    def notify_closing(self, fd: Any) -> None:
        """Nobody waits for it."""

    async def wait_readable(self, fd: Any) -> None:
        """See Trio."""
        refuse("waiting for a socket to be readable")

    async def wait_writable(self, fd: Any) -> None:
        """See Trio."""
        refuse("waiting for a socket to be writable")


class _Queue(deque[Any]):
    """
    Trio's queue of ready tasks, which gives out one at a time.

    Thread safety: as `Tasks`.
    """

    def __init__(self, tasks: Tasks) -> None:
        super().__init__()
        self._tasks = tasks
        self._chosen: Any = None

    def oldest_first(self) -> Iterator[Any]:
        """All of them."""
        return super().__iter__()

    def __iter__(self) -> Iterator[Any]:
        self._chosen = None
        if len(self):
            self._chosen = self._tasks.choose(self)
            yield self._chosen

    def clear(self) -> None:
        """Take out the one that was given out."""
        if self._chosen is not None:
            self.remove(self._chosen)
            self._chosen = None


class _Clock:
    """Virtual time, as `trio.abc.Clock`."""

    def __init__(self, run: Scheduler) -> None:
        self._run = run

    def start_clock(self) -> None:
        """It runs already."""

    def current_time(self) -> float:
        """Virtual seconds."""
        return LOOP_START_S + self._run.clock

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Virtual seconds until `deadline`."""
        return deadline - self.current_time()


class _Wakeup:
    """
    Stands in for the socket by which other threads wake Trio.

    Thread safety: by whoever holds the baton.
    """

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._waiter: Any = None
        self._is_set = False

    def wakeup_thread_and_signal_safe(self) -> None:
        """Let the task that runs what other threads ask for go on."""
        self._is_set = True
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            self._tasks._runner.reschedule(waiter)
            self._tasks.wake()

    async def wait_woken(self) -> None:
        """Wait for that."""
        import trio

        if not self._is_set:
            self._waiter = trio.lowlevel.current_task()

            def abort(_: Any) -> Any:
                self._waiter = None
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(abort)
        self._is_set = False

    def wakeup_on_signals(self) -> None:
        """Signals are not under control."""

    def drain(self) -> None:
        """Forget that it was called."""
        self._is_set = False

    def close(self) -> None:
        """Nothing is open."""


class TrioHost:
    """
    Runs coroutine functions as tasks of one Trio run.

    Thread safety: made by the exploring thread, then of its actor.
    """

    def __init__(self, run: Scheduler, actor: Actor, participants: Sequence[Participant]) -> None:
        self._run = run
        self._actor = actor
        self._participants = participants
        self._results: list[Ended] = [Ended(finished=False) for _ in participants]

    def main(self) -> None:
        """The actor's whole life."""
        import trio

        try:
            trio.run(self._all)
        except BaseException:
            if self._run.aborting:
                raise Unwind from None
            raise

    def ended(self) -> list[Ended]:
        """One a participant."""
        return self._results

    async def _all(self) -> None:
        import trio

        tasks: Tasks = inside().GLOBAL_RUN_CONTEXT.runner.io_manager
        tasks.is_host = True
        everybody = range(len(self._participants))
        serial = self._run.options.serial
        groups = [everybody] if serial is None else [[i] for i in serial if i in everybody]
        for together in groups:
            async with trio.open_nursery() as nursery:
                for index in together:
                    nursery.start_soon(self._one, index, name=self._participants[index].name)

    async def _one(self, index: int) -> None:
        import trio

        participant = self._participants[index]
        tasks: Tasks = inside().GLOBAL_RUN_CONTEXT.runner.io_manager
        number = tasks.number_of(trio.lowlevel.current_task())
        if self._run.recorder is not None:
            recorder = self._run.recorder
            recorder.person(number, participant.name, "task", participant.invocation)
        with trio.CancelScope() as scope:
            tasks.scopes[number] = scope
            try:
                result = await participant.call()
                self._results[index] = Ended(result=result)
            except trio.Cancelled as error:
                self._results[index] = Ended(error=error)
                raise
            except (Unwind, GeneratorExit):
                raise
            except BaseException as error:
                self._results[index] = Ended(error=error)
            finally:
                tasks.scopes.pop(number, None)
        if scope.cancelled_caught:
            self._results[index] = Ended(cancelled=True)


def _site(task: Any) -> int:
    frame = innermost(task.coro)
    return -1 if frame is None else site_at_code(frame.f_code, frame.f_lasti, frame.f_lineno)
