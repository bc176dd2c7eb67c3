"""Threads that user code starts: each becomes an actor of the run it was started in."""

from __future__ import annotations

import _thread
import functools
import itertools
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from lmi_runtime.stress.control import raw
from lmi_runtime.stress.control.active import caller
from lmi_runtime.stress.control.actors import Actor, Unwind, Waiting
from lmi_runtime.stress.control.scheduler import Scheduler
from lmi_runtime.stress.control.sites import site_at

__all__ = [
    "STARTER",
    "actor_of",
    "hash_of",
    "is_alive",
    "join",
    "launch",
    "restart_counters",
    "start_new_thread",
]

STARTER = "_start_joinable_thread" if sys.version_info >= (3, 13) else "_start_new_thread"
"""What `threading.Thread.start` calls, by its name in the module `threading`."""

_real_starter: Callable[..., Any] = getattr(threading, STARTER)
_real_join = threading.Thread.join
_real_is_alive = threading.Thread.is_alive


def actor_of(thread: threading.Thread) -> Actor | None:
    """The actor that `thread` is, in a run of its own time."""
    return thread.__dict__.get("_stress_actor")


def start_new_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Stands in for what `Thread.start` calls."""
    here = caller()
    thread = getattr(function, "__self__", None)
    if here is None or not isinstance(thread, threading.Thread):
        return _real_starter(function, *args, **kwargs)
    run, parent = here
    actor = run.add(thread.name)
    actor.thread = thread
    actor.invocation = parent.invocation
    thread.__dict__["_stress_actor"] = actor
    if run.recorder is not None:
        run.recorder.spawn(parent, actor)
    run.clean = False

    def whole(*args: Any) -> None:
        function(*args)
        actor.finished = not run.aborting  # else it was unwound, and might have gone on for ever

    def body(*args: Any) -> None:
        _live(run, actor, lambda: whole(*args))

    # The parent goes on at once: who of the two is first is the scheduler's choice.
    thread._started = _BEGUN  # type: ignore[attr-defined]
    try:
        result = _real_starter(body, *args, **kwargs)
    except BaseException:
        run.never_lived(actor)
        raise
    if thread.ident is None:
        handle = kwargs.get("handle")
        thread._ident = result if handle is None else handle.ident  # type: ignore[attr-defined]
    run.point(parent, site_at(sys._getframe(2), "start a thread"))
    return result


def restart_counters() -> None:
    """Give threads the same default names in every run."""
    ThreadPoolExecutor._counter = itertools.count().__next__  # type: ignore[attr-defined]
    threading._counter = itertools.count(1).__next__  # type: ignore[attr-defined]


def hash_of(self: threading.Thread) -> int:
    """
    Stands in for `Thread.__hash__`.

    Executors keep their threads in a set and join them in its order, which would depend on
    where they happen to lie in memory.
    """
    known: int | None = self.__dict__.get("_stress_hash")
    if known is None:
        here = caller()
        known = object.__hash__(self) if here is None else next(here[0].hashes)
        self.__dict__["_stress_hash"] = known
    return known


def launch(run: Scheduler, actor: Actor, call: Callable[[], Any]) -> None:
    """
    Make the thread of a participant; it is started when it has its first turn.

    Not by `Thread.start`: there, whoever starts a thread waits until it lives, which costs more
    than a small run does.
    """

    def body() -> None:
        try:
            actor.result = call()
        except Unwind:
            raise
        except BaseException as error:
            actor.error = error
        actor.finished = True

    thread = _a_thread(actor)
    actor.thread = thread
    in_context = copy_context().run if _INHERITS else _at_once

    def live() -> None:
        _register(thread)
        in_context(_live, run, actor, body, functools.partial(_unregister, thread))

    actor.begin = functools.partial(raw.start_thread, live, ())


def _a_thread(actor: Actor) -> threading.Thread:
    """A copy of one that was never started: making one takes a lock, a condition, an event."""
    thread = threading.Thread.__new__(threading.Thread)
    thread.__dict__.update(_NEVER_STARTED)
    thread.__dict__["_stress_actor"] = actor
    thread.name = actor.name
    return thread


_INHERITS = getattr(sys.flags, "thread_inherit_context", 0)


def _at_once(function: Callable[..., Any], *args: Any) -> None:
    function(*args)


def _register(thread: Any) -> None:
    """What `Thread._bootstrap` does first."""
    thread._set_ident()
    thread._set_native_id()
    threading._active[thread.ident] = thread  # type: ignore[attr-defined]
    if sys.version_info >= (3, 12):  # before, the run needs the trace function itself
        sys.settrace(threading.gettrace())
    sys.setprofile(threading.getprofile())


def _unregister(thread: Any) -> None:
    """It is gone for everybody else before somebody else goes on."""
    threading._active.pop(thread.ident, None)  # type: ignore[attr-defined]
    if _HANDLE:
        handle = _thread._make_thread_handle(thread.ident)  # type: ignore[attr-defined,unused-ignore]
        handle._set_done()
        setattr(thread, _HANDLE, handle)
    else:
        thread._is_stopped = True


class _Begun:
    """
    Stands in for the event that a thread sets when it lives: here nobody waits for that.

    Thread safety: has no state.
    """

    def is_set(self) -> bool:
        """It is."""
        return True

    def set(self) -> None:
        """It is set."""

    def wait(self, timeout: float | None = None) -> bool:
        """Nobody has to."""
        return True

    def _at_fork_reinit(self) -> None:
        """Nothing to do."""


_BEGUN = _Begun()

_NEVER_STARTED = {**vars(threading.Thread(name="participant", daemon=True)), "_started": _BEGUN}

_HANDLE = next((name for name in ("_os_thread_handle", "_handle") if name in _NEVER_STARTED), "")
"""Where a `Thread` keeps what tells whether it has ended, from 3.13 on."""


def _live(
    run: Scheduler, actor: Actor, body: Callable[[], Any], last: Callable[[], None] | None = None
) -> None:
    try:
        run.adopt(actor)
        if run.recorder is not None:
            run.recorder.start(actor)
        run.enter_thread()
        try:
            body()
        finally:
            run.leave_thread()
    except Unwind:
        pass
    finally:
        if last is not None:
            last()
        run.end(actor)


def join(self: threading.Thread, timeout: float | None = None) -> None:
    """Stands in for `threading.Thread.join`."""
    here = caller()
    target = actor_of(self)
    if here is None or target is None or not self._started.is_set():  # type: ignore[attr-defined]
        _real_join(self, timeout)
        return
    run, actor = here
    if target is actor:
        raise RuntimeError("cannot join current thread")
    site = site_at(sys._getframe(1), "join")
    if not run.clean:
        run.point(actor, site)
    deadline = None if timeout is None else run.clock + max(0.0, timeout)
    while not target.done:
        if run.recorder is not None:
            run.recorder.event(actor, "wait", self, detail="to end")
        if not run.block(actor, Waiting("join", target), deadline, site):
            return
    run.clean = False
    if run.recorder is not None:
        run.recorder.event(actor, "join", self)


def is_alive(self: threading.Thread) -> bool:
    """Stands in for `threading.Thread.is_alive`."""
    target = actor_of(self)
    if target is None or (caller() is None and not target.done):
        return _real_is_alive(self)
    here = caller()
    if here is not None:
        here[0].clean = False
    return not target.done
