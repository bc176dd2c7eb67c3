"""Threads that user code starts: each becomes an actor of the run it was started in."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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

    def body(*args: Any) -> None:
        _live(run, actor, lambda: function(*args))

    # The parent goes on at once: who of the two is first is the scheduler's choice.
    thread._started._flag = True  # type: ignore[attr-defined]
    result = _real_starter(body, *args, **kwargs)
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
    """Start the thread of a participant; it waits for its first turn."""

    def body() -> None:
        try:
            actor.result = call()
        except Unwind:
            raise
        except BaseException as error:
            actor.error = error
        actor.finished = True

    thread = threading.Thread(target=_live, args=(run, actor, body), name=actor.name, daemon=True)
    thread.__dict__["_stress_actor"] = actor
    actor.thread = thread
    thread.start()


def _live(run: Scheduler, actor: Actor, body: Callable[[], Any]) -> None:
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
    if target is None or caller() is None:
        return _real_is_alive(self)
    here = caller()
    if here is not None:
        here[0].clean = False
    return not target.done
