"""
What tasks do to each other, as recorded steps.

A task is ordered after another one only by what it learns from it: it was started by it, waits
for its end, or for something the other one brought about. Only runs that are recorded come here.
"""

from __future__ import annotations

import asyncio
import functools
from asyncio import events
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from lmi_runtime.stress.control.active import caller
from lmi_runtime.stress.control.actors import Actor
from lmi_runtime.stress.control.hashes import hash_of
from lmi_runtime.stress.control.locks import INTERNAL
from lmi_runtime.stress.control.recorder import Recorder
from lmi_runtime.stress.control.scheduler import Scheduler
from lmi_runtime.stress.control.stuck import innermost

if TYPE_CHECKING:
    from lmi_runtime.stress.control.loop import ControlledLoop

__all__ = ["Follower", "RecordedFuture", "RecordedTask", "RunFuture", "RunTask"]


class Follower:
    """
    Tells the recorder what happens on one loop.

    Thread safety: as the loop; `sent` by any actor that holds the baton.
    """

    def __init__(self, run: Scheduler, actor: Actor, loop: ControlledLoop) -> None:
        assert run.recorder is not None
        self._recorder: Recorder = run.recorder
        self._run = run
        self._actor = actor
        self._loop = loop
        self._started: set[int] = set()
        self._sent: set[int] = set()  # identities of handles that other actors made

    def spawned(self, task: Any, number: int) -> None:
        """The task that runs has started another one."""
        self._recorder.event(self._actor, "spawn", task)

    def scheduled(self, lane: int, handle: events.Handle, args: Sequence[Any]) -> None:
        """What runs has made that a task, or a callback, goes on."""
        future = args[0] if args and asyncio.isfuture(args[0]) else None
        if lane >= 0 and future is not None:
            self._note("notify", future)
        elif lane < 0:
            self._note("notify", handle)

    def sent(self, handle: events.Handle) -> None:
        """Another actor asks the loop to run something."""
        here = caller()
        if here is not None:
            self._recorder.event(here[1], "notify", handle, detail=INTERNAL)

    def run(self, lane: int, handle: Any, task: Any) -> None:
        """Run one step, and write down how it begins and ends."""
        if lane < 0:
            self._run_callback(handle)
            return
        args = handle._args or ()
        if lane not in self._started:
            self._started.add(lane)
            self._note("start", task, "")
        elif args and asyncio.isfuture(args[0]):
            self._learn(args[0])
        handle._run()
        if task.done():
            self._recorder.event(self._actor, "end", task, detail=_end_of(task))
            return
        frame = innermost(task.get_coro())
        self._recorder.event(
            self._actor, "await", task._fut_waiter, detail=_awaited(task), frame=frame
        )

    def _run_callback(self, handle: Any) -> None:
        """Callbacks of one object are ordered: together they may wait for many."""
        owner = _owner_of(handle._callback)
        self._note("wake", handle)
        self._note("wake", owner)
        handle._run()
        self._note("notify", owner)

    def _learn(self, future: Any) -> None:
        is_task = hasattr(future, "get_coro")
        self._recorder.event(
            self._actor, "join" if is_task else "wake", future, detail="" if is_task else INTERNAL
        )

    def _note(self, kind: Any, thing: Any, detail: str = INTERNAL) -> None:
        self._recorder.event(self._actor, kind, thing, detail=detail)


def _owner_of(callback: Any) -> Any:
    while isinstance(callback, functools.partial):
        callback = callback.func
    return getattr(callback, "__self__", None) or callback


def _awaited(task: Any) -> str:
    future = task._fut_waiter
    if future is None:
        return ""
    return f"the end of {future.get_name()}" if hasattr(future, "get_name") else ""


def _end_of(task: Any) -> str:
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    if error is not None:
        return f"{type(error).__name__}: {error}"[:200]
    result = task.result()
    return "" if result is None else f"returns {type(result).__name__}"


class _Learns:
    """Whoever sees that it is done knows what was done before."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Any]:
        if super().done():  # type: ignore[misc]
            _learned(self)
        return super().__await__()  # type: ignore[misc,no-any-return]

    def done(self) -> bool:
        """See asyncio."""
        is_done: bool = super().done()  # type: ignore[misc]
        if is_done:
            _learned(self)
        return is_done

    def result(self) -> Any:
        """See asyncio."""
        if super().done():  # type: ignore[misc]
            _learned(self)
        return super().result()  # type: ignore[misc]

    def exception(self) -> Any:
        """See asyncio."""
        if super().done():  # type: ignore[misc]
            _learned(self)
        return super().exception()  # type: ignore[misc]


class RunTask(asyncio.Task[Any]):
    """A task of a run: in sets it has the same place in every run."""

    __hash__ = hash_of


class RunFuture(asyncio.Future[Any]):
    """The same for a future."""

    __hash__ = hash_of


class RecordedTask(_Learns, RunTask):
    """A task of a recorded run."""


class RecordedFuture(_Learns, RunFuture):
    """A future of a recorded run."""


def _learned(future: Any) -> None:
    here = caller()
    if here is None:
        return
    run, actor = here
    if run.recorder is None:
        return
    kind: Any = "join" if hasattr(future, "get_coro") else "wake"
    run.recorder.event(actor, kind, future, detail=INTERNAL)
