"""
Locks that a scheduler can see, and that are ordinary locks to everybody else.

Each has a real lock inside. An actor only ever tries it and, where it is taken, waits in the
scheduler; a thread outside the run blocks on it as it always would. So locks that outlive a run
(a library made them while it was being imported) keep working.
"""

from __future__ import annotations

import functools
import itertools
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from lmi_runtime.stress.control import actors
from lmi_runtime.stress.control.active import caller, stage
from lmi_runtime.stress.control.actors import Actor, Waiting
from lmi_runtime.stress.control.outside import note_outsider
from lmi_runtime.stress.control.raw import RawLock, get_ident
from lmi_runtime.stress.control.sites import site_at

if TYPE_CHECKING:
    from lmi_runtime.stress.control.scheduler import Scheduler

__all__ = [
    "INTERNAL",
    "ControlledLock",
    "ControlledRLock",
    "allocate_lock",
    "count_anew",
    "switch_point",
]

_QUIET = frozenset({"threading", "queue", "concurrent.futures._base", "concurrent.futures.thread"})
"""Modules whose own locks are no places to switch at: what they build from them is."""

_QUIET_OR_LOOPS = _QUIET | {"asyncio.base_events", "asyncio.events", "logging", "sched"}

_PATIENCE_S = 10.0
"""Real seconds the exploring thread waits for a lock: other threads may hold it for a moment."""

_numbers = itertools.count(1)


Method = TypeVar("Method", bound=Callable[..., Any])

if sys.version_info >= (3, 12):

    def _untraced(method: Method) -> Method:
        return method

else:

    def _untraced(method: Method) -> Method:
        """
        Without trace function, where actors have one: for every Python function that is called
        the interpreter would make a frame object and a dict of its variables.
        """

        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            trace = sys.gettrace()
            if trace is None or trace is not actors.trace:
                return method(*args, **kwargs)
            sys.settrace(None)
            try:
                return method(*args, **kwargs)
            finally:
                sys.settrace(trace)

        return cast(Method, call)


class ControlledLock:
    """
    Stands in for `threading.Lock`.

    Thread safety: as the lock it stands for.
    """

    __slots__ = ("__weakref__", "_real", "made", "notifies", "nth", "number", "owner", "waiters")

    def __init__(self) -> None:
        self._real = RawLock()
        self.made, self.notifies = _creation()
        self.nth = 1 if self.notifies else _count(self.made)  # of those made on that line
        self.number = next(_numbers)
        self.owner: Any = None  # an Actor while one holds it; guarded by the baton
        self.waiters: list[Actor] = []  # guarded by the baton

    @_untraced
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """See `threading.Lock.acquire`."""
        here = caller()
        if here is None:
            note_outsider()
            if blocking and timeout == -1 and stage() is not None:
                return self._take_between_runs()
            return self._real.acquire(blocking, timeout)
        if timeout != -1:
            _check(blocking, timeout)
        run, actor = here
        site = switch_point(run, actor, "acquire")
        if not self._real.acquire(False) and not self._wait(run, actor, blocking, timeout, site):
            return False
        self.owner = actor
        actor.held.append(self)
        run.clean = False
        if run.recorder is not None:
            run.recorder.event(actor, "acquire", self, detail=_internal())
        return True

    @_untraced
    def release(self) -> None:
        """See `threading.Lock.release`."""
        here = caller()
        if here is not None and here[0].aborting and not self._real.locked():
            return  # it was never taken again by who unwinds out of a wait
        owner, self.owner = self.owner, None
        self._real.release()
        if owner is not None:
            owner.held.remove(self)
        if here is not None:
            run, actor = here
            if run.recorder is not None:
                run.recorder.event(actor, "release", self, detail=_internal())
            run.clean = False
            if self.waiters:
                self.wake(run)
            switch_point(run, actor, "release")
        # A thread outside the run wakes nobody: the scheduler looks before it says deadlock.

    @_untraced
    def locked(self) -> bool:
        """See `threading.Lock.locked`."""
        here = caller()
        if here is not None:
            switch_point(here[0], here[1], "locked")
            here[0].clean = False
        return self._real.locked()

    acquire_lock = acquire
    release_lock = release
    locked_lock = locked

    __enter__ = acquire

    @_untraced
    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def _at_fork_reinit(self) -> None:
        self._real = RawLock()
        self.owner = None
        self.waiters = []

    def __repr__(self) -> str:
        state = "locked" if self._real.locked() else "unlocked"
        return f"<{state} {type(self).__name__} {self.number}>"

    # ------------------------------------------------------------------ under control

    def _wait(
        self, run: Scheduler, actor: Actor, blocking: bool, timeout: float, site: int
    ) -> bool:
        """Somebody holds it: wait until it could be taken."""
        if not blocking or timeout == 0:
            run.clean = False
            if run.recorder is not None:
                run.recorder.event(actor, "note", self, detail=_internal() or "finds it taken")
            return False
        deadline = None if timeout < 0 else run.clock + timeout
        if run.recorder is not None:
            run.recorder.event(actor, "wait", self)
        waiting = Waiting("lock", self, deadline is not None and _is_timer())
        while True:
            self.waiters.append(actor)
            try:
                in_time = run.block(actor, waiting, deadline, site)
            finally:
                if actor in self.waiters:
                    self.waiters.remove(actor)
            if not in_time:  # even if it is free by now: who was too late does not look again
                if run.recorder is not None:
                    run.recorder.event(actor, "wake", self, detail="timed out")
                return False
            if self._real.acquire(False):
                return True

    def abandon(self) -> None:
        """The run of its owner is over; by the exploring thread."""
        self.owner = None
        self.waiters.clear()
        if self._real.locked():
            self._real.release()

    def _take_between_runs(self) -> bool:
        """In a module being imported, or in `setup`: nobody else gives back what is taken there."""
        if self._real.acquire(timeout=_PATIENCE_S):
            return True
        raise RuntimeError(
            "Before the run began, code waits for a lock that is taken already: it was imported, "
            "or set up, with a lock that it never gave back."
        )

    def locked_now(self) -> bool:
        """Whether anybody holds it, for the scheduler: no switch point."""
        return self._real.locked()

    def wake(self, run: Scheduler) -> None:
        """Let those that wait for it compete again; by the holder of the baton."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            run.wake(waiter)


class ControlledRLock(ControlledLock):
    """
    Stands in for `threading.RLock`.

    Thread safety: as the lock it stands for.
    """

    __slots__ = ("_count", "_ident")

    def __init__(self) -> None:
        super().__init__()
        self._ident = 0  # of the thread that holds it; written by the holder only
        self._count = 0  # holder only

    @_untraced
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """See `threading.RLock`."""
        me = get_ident()
        if self._ident == me:
            self._count += 1
            return True
        taken = super().acquire(blocking, timeout)
        if taken:
            self._ident = me
            self._count = 1
        return taken

    @_untraced
    def release(self) -> None:
        """See `threading.RLock`."""
        if self._ident != get_ident():
            here = caller()
            if here is not None and here[0].aborting:
                return  # it was never taken again by who unwinds out of a wait
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if self._count == 0:
            self._ident = 0
            super().release()

    __enter__ = acquire

    def _is_owned(self) -> bool:
        return self._ident == get_ident()

    def _recursion_count(self) -> int:
        return self._count if self._ident == get_ident() else 0

    def _release_save(self) -> tuple[int, int]:
        saved = (self._count, self._ident)
        self._count = 0
        self._ident = 0
        super().release()
        return saved

    def _acquire_restore(self, saved: tuple[int, int]) -> None:
        super().acquire()
        self._count, self._ident = saved

    def abandon(self) -> None:
        """See `ControlledLock.abandon`."""
        self._ident = self._count = 0
        super().abandon()

    def _at_fork_reinit(self) -> None:
        super()._at_fork_reinit()
        self._ident = self._count = 0


def allocate_lock() -> ControlledLock:
    """Stands in for `_thread.allocate_lock`."""
    return ControlledLock()


def _creation() -> tuple[CodePlace | None, bool]:
    """Where user code asked for the lock being made; whether it only carries a notification."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") in _BEHIND:
        if frame.f_code is _WAIT_CODE:
            condition_lock = getattr(frame.f_locals["self"], "_lock", None)
            return getattr(condition_lock, "made", None), True
        frame = frame.f_back
    if frame is None:
        return None, False
    return (frame.f_code, frame.f_lineno), False


_made: dict[tuple[int, int], int] = {}  # locks of one run, by code and line; names only


def _count(made: CodePlace | None) -> int:
    if made is None:
        return 1
    code, line = made
    nth = _made.get((id(code), line), 0) + 1
    _made[id(code), line] = nth
    return nth


def count_anew() -> None:
    """A run begins: its locks are counted from one; exploring thread only."""
    _made.clear()


CodePlace = tuple[CodeType, int]
"""A code object and a line in it."""

_TIMER_CODE = threading.Timer.run.__code__


def _is_timer() -> bool:
    """Whether a `threading.Timer` waits for its time."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") in _BEHIND:
        if frame.f_code is _TIMER_CODE:
            return True
        frame = frame.f_back
    return False


_WAIT_CODE = threading.Condition.wait.__code__


_BEHIND = _QUIET | {__name__}


INTERNAL = "internal"
"""Detail of steps inside the standard library's own primitives: they order, but tell nothing."""


def _internal() -> str:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    if frame is None or frame.f_globals.get("__name__") in _QUIET:
        return INTERNAL
    return ""


def _check(blocking: bool, timeout: float) -> None:
    if not blocking and timeout != -1:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if timeout < 0 and timeout != -1:
        raise ValueError("timeout value must be a non-negative number")


def switch_point(run: Scheduler, actor: Actor, what: str) -> int:
    """A point at the primitive, unless it is the inside of a bigger one."""
    frame: FrameType | None = sys._getframe(2)
    module = frame.f_globals.get("__name__")  # type: ignore[union-attr]
    while module == __name__:
        frame = frame.f_back  # type: ignore[union-attr]
        module = None if frame is None else frame.f_globals.get("__name__")
    if frame is None or module in _QUIET_OR_LOOPS:
        return actor.last_site
    site = site_at(frame, what)
    if not run.clean:
        run.point(actor, site)
    return site
