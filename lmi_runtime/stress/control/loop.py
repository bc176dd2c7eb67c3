"""
An event loop whose every step is a decision, in virtual time.

It is hosted by one actor of the thread scheduler, so tasks, `to_thread` jobs and executors are
scheduled by one chooser in one run.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import linecache
from asyncio import base_events, events
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from types import FrameType
from typing import Any, NoReturn

from lmi_runtime.stress.control.active import caller
from lmi_runtime.stress.control.actors import Actor, Unwind, Waiting
from lmi_runtime.stress.control.scheduler import TIME_PASSES, Scheduler
from lmi_runtime.stress.control.sites import site_at_code
from lmi_runtime.stress.program import Ended, Participant

__all__ = ["ControlledLoop", "LoopHost", "UncontrolledIO"]

_LOOP_START_S = 1_000.0

_PATIENCE = 500
"""Steps in a row until time passes although something is always ready."""

_CALLBACKS = -2
"""Lane of what no task owns: callbacks keep the order in which they were registered."""


class UncontrolledIO(OSError):
    """Code under control asked its event loop for real input or output."""


class ControlledLoop(base_events.BaseEventLoop):
    """
    Runs one ready callback at a time, the one the chooser says.

    Thread safety: of one actor, but for `call_soon_threadsafe`.
    """

    def __init__(self, run: Scheduler, actor: Actor) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self._run_of = run
        self._actor = actor
        self._numbers: dict[asyncio.Task[Any], int] = {}
        self.cancellable: set[int] = set()
        self._steps = 0
        self._made = 0
        self.main_task: asyncio.Task[Any] | None = None

    def time(self) -> float:
        """Virtual seconds."""
        return _LOOP_START_S + self._run_of.clock

    def create_task(self, coro: Any, *, name: str | None = None, **kwargs: Any) -> Any:
        """See asyncio. Tasks without a name get one that is the same in every run."""
        self._made += 1
        name = name or f"{getattr(coro, '__qualname__', 'task').rpartition('.')[2]}#{self._made}"
        return super().create_task(coro, name=name, **kwargs)

    # ------------------------------------------------------------------ one step

    def _run_once(self) -> None:
        run, actor = self._run_of, self._actor
        self._move_due()
        while not self._ready:
            if self._stopping:
                return
            self._wait()
            self._move_due()
        lane = self._choose_lane()
        while lane == TIME_PASSES:
            self._let_time_pass()
            lane = self._choose_lane()
        self._steps += 1
        if self._steps > _PATIENCE and self._scheduled:
            self._let_time_pass()  # somebody asks again and again whether time has passed
        handle = self._take(lane)
        actor.speaker = lane if lane >= 0 else actor.number
        run.clean = False
        handle._run()
        actor.speaker = actor.number
        if run.options.cancels and lane in self.cancellable:
            self._offer_cancel(lane)

    def _choose_lane(self) -> int:
        lanes = list(dict.fromkeys([self._lane(handle) for handle in self._ready]))
        if self._scheduled:
            lanes.append(TIME_PASSES)
        run = self._run_of
        if len(lanes) == 1:
            run.count_step(self._actor)
            return lanes[0]
        first = lanes[0]
        site = self._site(first)
        self._actor.last_site = site
        to = run.decide("task", self._actor, tuple(lanes), site)
        if to != first and run.recorder is not None:
            run.recorder.deviation(self._actor, site)
        return to

    def _let_time_pass(self) -> None:
        self._steps = 0
        self._run_of.advance(self._scheduled[0]._when - _LOOP_START_S)
        self._move_due()

    def _lane(self, handle: events.Handle) -> int:
        owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined,unused-ignore]
        if isinstance(owner, asyncio.Task):
            return self.number_of(owner)
        return _CALLBACKS

    def number_of(self, task: asyncio.Task[Any]) -> int:
        """The number of `task` among all actors, given when it is first seen."""
        number = self._numbers.get(task)
        if number is None:
            number = next(self._run_of.numbers)
            self._numbers[task] = number
            if self._run_of.recorder is not None:
                self._run_of.recorder.person(number, task.get_name(), "task", None)
        return number

    def _task(self, number: int) -> asyncio.Task[Any] | None:
        for task, known in self._numbers.items():
            if known == number:
                return task
        return None

    def _take(self, lane: int) -> events.Handle:
        ready = self._ready
        for index, handle in enumerate(ready):
            if self._lane(handle) == lane:
                del ready[index]
                return handle
        raise AssertionError(f"lane {lane} has nothing ready")

    def _move_due(self) -> None:
        now = self.time() + 1e-9
        scheduled = self._scheduled
        while scheduled and (scheduled[0]._cancelled or scheduled[0]._when <= now):
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                self._ready.append(handle)
            else:
                self._timer_cancelled_count -= 1
        if any(handle._cancelled for handle in self._ready):
            kept = [handle for handle in self._ready if not handle._cancelled]
            self._ready.clear()
            self._ready.extend(kept)

    def _wait(self) -> None:
        """Nothing is ready: other actors go on, or time passes."""
        deadline = None
        if self._scheduled:
            deadline = self._scheduled[0]._when - _LOOP_START_S
        self._run_of.block(self._actor, Waiting("loop", self), deadline)

    def _site(self, lane: int) -> int:
        """Where the task of this lane would go on."""
        task = self._task(lane)
        if task is None:
            return -1
        frame, _ = innermost(task.get_coro())
        return -1 if frame is None else site_at_code(frame.f_code, frame.f_lasti, frame.f_lineno)

    def _offer_cancel(self, lane: int) -> None:
        task = self._task(lane)
        if task is None or task.done():
            return
        site = self._site(lane)
        if self._run_of.decide("cancel", self._actor, (lane, _cancelled(lane)), site) != lane:
            if self._run_of.recorder is not None:
                self._run_of.recorder.event(self._actor, "cancel", detail=task.get_name())
            task.cancel()

    def stuck_tasks(self) -> list[tuple[str, str]]:
        """For each task that waits: a sentence, and the name of what it waits for."""
        told = []
        for task in self._numbers:
            if task.done() or task is self.main_task:
                continue
            frame, thing = innermost(task.get_coro())
            name = thing if frame is None else _source_of(frame)
            where = "" if frame is None else f" at {_short(frame)}"
            told.append((f"{task.get_name()} waits{where}: {name}", name))
        return told

    # ------------------------------------------------------------------ threads

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        """See asyncio."""
        self._check_closed()
        handle = self._call_soon(callback, args, context)  # type: ignore[attr-defined]
        if self._actor.waiting is not None and self._actor.waiting.thing is self:
            self._run_of.wake(self._actor)
        return handle

    def _write_to_self(self) -> None:
        """Nobody selects."""

    def _process_events(self, event_list: Any) -> None:
        """Nobody selects."""

    # ------------------------------------------------------------------ input and output

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        here = caller()
        text = (
            "Real input or output on the event loop is not under control. Fake it for the test: "
            "replace the client, or what it connects with."
        )
        if here is not None and text not in here[0].uncontrolled:
            here[0].uncontrolled.append(text)
        raise UncontrolledIO(text)

    add_reader = remove_reader = add_writer = remove_writer = _refuse
    _make_socket_transport = _make_ssl_transport = _make_datagram_transport = _refuse
    _make_read_pipe_transport = _make_write_pipe_transport = _make_subprocess_transport = _refuse
    sock_recv = sock_recv_into = sock_sendall = sock_connect = sock_accept = _refuse
    create_connection = create_server = create_datagram_endpoint = _refuse
    subprocess_shell = subprocess_exec = connect_read_pipe = connect_write_pipe = _refuse
    add_signal_handler = remove_signal_handler = _refuse


def _cancelled(lane: int) -> int:
    return -3 - lane


def innermost(coroutine: Any) -> tuple[FrameType | None, str]:
    """Where a suspended chain of coroutines stands in code of the user, and what it awaits."""
    frame: FrameType | None = None
    for _ in range(_DEEPEST):
        here = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if here is None:
            break
        if frame is None or not _is_asyncio(here):
            frame = here
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
    return frame, type(coroutine).__name__


_DEEPEST = 50
_ASYNCIO = asyncio.__file__.rpartition("/")[0]


def _is_asyncio(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_ASYNCIO)


def _short(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"


def _source_of(frame: FrameType) -> str:
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0).strip()
    return line.removesuffix(":") or frame.f_code.co_qualname


class LoopHost:
    """
    The actor that runs the participants that are coroutine functions.

    Thread safety: made by the exploring thread, then of its actor.
    """

    def __init__(self, run: Scheduler, participants: Sequence[Participant]) -> None:
        self._run = run
        self._participants = participants
        self.actor = run.add("event loop")
        self.actor.is_loop = True
        self.actor.is_participant = True
        self._tasks: list[asyncio.Task[Any]] = []
        self._results: list[Ended] = [Ended(finished=False) for _ in participants]
        if run.recorder is not None:
            run.recorder.person(self.actor.number, "event loop", "loop", None)

    def main(self) -> None:
        """The actor's whole life."""
        loop = ControlledLoop(self._run, self.actor)
        self._loop = loop
        events._set_running_loop(None)
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._all(loop))
            for index, task in enumerate(self._tasks):
                self._results[index] = _ended(task)
        except Unwind:
            for index, task in enumerate(self._tasks):
                self._results[index] = _ended(task)
            raise
        finally:
            events._set_running_loop(None)
            _put_to_rest(loop)
            asyncio.set_event_loop(None)

    def ended(self) -> list[Ended]:
        """One a participant."""
        return self._results

    async def _all(self, loop: ControlledLoop) -> None:
        loop.main_task = asyncio.current_task()
        serial = self._run.options.serial
        if serial is None:
            for participant in self._participants:
                self._start(loop, participant)
            await _settled(self._tasks)
            return
        placed: dict[int, asyncio.Task[Any]] = {}
        for index in sorted(range(len(self._participants)), key=serial.index):
            placed[index] = self._start(loop, self._participants[index])
            await _settled([placed[index]])
        self._tasks = [placed[index] for index in range(len(self._participants))]

    def _start(self, loop: ControlledLoop, participant: Participant) -> asyncio.Task[Any]:
        coroutine: Coroutine[Any, Any, Any] = participant.call()
        task = loop.create_task(coroutine, name=participant.name, context=copy_context())
        number = loop.number_of(task)
        loop.cancellable.add(number)
        if self._run.recorder is not None:
            self._run.recorder.person(number, participant.name, "task", participant.invocation)
        self._tasks.append(task)
        return task


async def _settled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait for all of them without being in anybody's way: no callback runs for those left."""
    if tasks:
        await asyncio.wait(tasks)


def _ended(task: asyncio.Task[Any]) -> Ended:
    if not task.done():
        return Ended(finished=False)
    if task.cancelled():
        return Ended(error=asyncio.CancelledError())
    error = task.exception()
    return Ended(error=error) if error is not None else Ended(result=task.result())


def _put_to_rest(loop: ControlledLoop) -> None:
    """Close a loop whose tasks may be stuck, without a word on stderr."""
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        coroutine = task.get_coro()
        if inspect.iscoroutine(coroutine):
            try:
                coroutine.close()
            except (RuntimeError, Unwind):
                continue
    loop._ready.clear()
    loop._scheduled.clear()
    loop.close()
