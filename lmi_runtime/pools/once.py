"""
One thing that is opened once, however many threads and tasks ask for it: who opens, who waits.

Here is what is known and who is told; `resource` runs the openers. An opening belongs to nobody
who asked: each waits for as long as its own request may take, and the opening goes on.
"""

from __future__ import annotations

import logging
import math
import os
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Generic, TypeVar

from lmi_runtime import _sync
from lmi_runtime.context import deadline_s
from lmi_runtime.errors import LoadTimeout, PoolClosed, PoolError, ReentrantLoad, WrongKindOfCaller
from lmi_runtime.pools import registry
from lmi_runtime.pools.inherited import leave_to_parent

__all__ = [
    "Once",
    "Opened",
    "OpenedByTask",
    "OpenedByThread",
    "Opening",
    "Rest",
    "opening_now",
    "wait_in_task",
    "wait_in_thread",
]

T = TypeVar("T")
Rest = Callable[[], Awaitable[None] | None]
"""The part of an opener that runs when the resource is closed. It does not raise."""

_log = logging.getLogger(__name__)

# One for all: it is taken when something is opened or closed, never to use it. Re-entrant,
# because a finalizer that asks for a resource may come in while it is held.
_lock = _sync.ProcessWide(lambda: _sync.RLock(), anew_in_child=True)

_blocked: dict[_sync.Home | None, Opening[Any]] = {}  # guarded by _lock
"""Event loops that stand still, because their threads wait for an opening."""

_STANDS_STILL = (
    "Opening {0} needs the event loop that stands still in a call of {0}: await {0}.aget() there."
)

opening_now: ContextVar[Opening[Any] | None] = ContextVar("opening_now", default=None)
"""The opening that this code is a part of."""


class Opening(Generic[T]):
    """
    An opener that runs, and those who wait for it.

    Thread safety: everything here is guarded by the module's lock. `opened` and `error` do not
    change any more once `ended` is true.
    """

    __slots__ = (
        "_traceback",
        "ended",
        "error",
        "home",
        "opened",
        "parkers",
        "resource",
        "waits_for",
    )

    def __init__(self, resource: str, home: _sync.Home | None) -> None:
        self.resource: str = resource
        self.home = home
        self.ended = False
        self.opened: Opened[T] | None = None
        self.error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self.parkers: dict[_sync.ThreadParker | _sync.AsyncParker, None] = {}
        self.waits_for: list[Opening[Any]] = []

    def result(self) -> T:
        """The value; or raises what opening it raised. Only when it has ended."""
        if self.opened is not None:
            return self.opened.value
        assert self.error is not None
        # All who wait raise the same one: without this it would collect the stacks of all.
        raise self.error.with_traceback(self._traceback)

    def end_locked(self, opened: Opened[T] | None, error: BaseException | None) -> None:
        if not self.ended:
            self.opened, self.error, self.ended = opened, error, True
            self._traceback = None if error is None else error.__traceback__


class Opened(Generic[T]):
    """
    A value, and how it is closed.

    Thread safety: `value`, `home` and `name` never change; `_rest` is guarded by the module's
    lock.
    """

    __slots__ = ("__weakref__", "_once", "_rest", "home", "name", "value")

    def __init__(self, once: Once[T], home: _sync.Home | None, value: T, rest: Rest | None) -> None:
        self._once = once
        self._rest = rest
        self.home = home
        self.name = once.name
        self.value = value

    @property
    def has_rest(self) -> bool:
        """Whether anything is left to do when it is closed."""
        return self._rest is not None

    def close_now(self, budget_s: float) -> Awaitable[None] | None:
        """Run what is left of the opener; see `registry.Closable`."""
        raise NotImplementedError

    def take_rest_locked(self) -> Rest | None:
        rest, self._rest = self._rest, None
        return rest


class OpenedByThread(Opened[T]):
    """What a plain function or generator opened."""

    __slots__ = ()

    def close_now(self, budget_s: float) -> None:
        """Run what is left of the opener; see `registry.Closable`."""
        rest = self._once.take_apart(self, for_good=True)
        if rest is not None:
            rest()


class OpenedByTask(Opened[T]):
    """What an async function or generator opened."""

    __slots__ = ()

    async def close_now(self, budget_s: float) -> None:
        """Run what is left of the opener; see `registry.Closable`."""
        rest = self._once.take_apart(self, for_good=True)
        if rest is not None and (ending := rest()) is not None:
            await ending


class Once(Generic[T]):
    """
    What is open, or being opened, of one resource.

    Something that was opened by tasks belongs to their event loop, so there is one for each
    loop: as a rule, a process has one loop. What threads opened has the loop None.

    Thread safety: everything, from any thread. `cells` may be read without the lock.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.cells: dict[_sync.Home | None, Opening[T] | Opened[T]] = {}  # guarded by _lock
        self._closed = False  # guarded by _lock
        _all.add(self)

    def value_at(self, home: _sync.Home | None) -> Opened[T] | None:
        """What is open on this loop."""
        cell = self.cells.get(home)
        return cell if isinstance(cell, Opened) else None

    def homes(self) -> Iterator[_sync.Home | None]:
        """Where it is open or being opened, on loops that have not ended."""
        with _lock():
            homes = list(self.cells)
        return (home for home in homes if home is None or _sync.is_alive(home))

    def join(
        self,
        home: _sync.Home | None,
        parker: _sync.ThreadParker | _sync.AsyncParker,
        start: Callable[[Opening[T]], None],
    ) -> Opening[T] | Opened[T]:
        """
        What is open; or else its opening, which will wake `parker`.

        Args:
            home: The loop it belongs to.
            parker: Whoever asks, and will call `wait_in_thread` or `wait_in_task`.
            start: Runs the opener, if none is running.

        Raises:
            PoolClosed: It has been closed for good.
            ReentrantLoad: The opening would wait for the one that asks.
            WrongKindOfCaller: It would wait for a loop that waits for it.
        """
        lost: list[Opened[T]] = []
        with _lock():
            if self._closed:
                raise PoolClosed(f"The resource {self.name} has been closed.")
            cell = self.cells.get(home)
            if isinstance(cell, Opened):
                return cell
            fresh = cell is None
            opening = Opening[T](self.name, home) if cell is None else cell
            _wait_for_locked(opening, parker)
            if fresh:
                lost = self._lose_ended_locked()
                self.cells[home] = opening
            opening.parkers[parker] = None
        for opened in lost:
            _log.warning("%s was left open: its event loop was closed before it", opened.name)
        if fresh:
            try:
                start(opening)
            except BaseException as error:
                self.fail(opening, error)
                _stop_waiting(opening, parker)
                raise
        return opening

    def succeed(self, opening: Opening[T], opened: Opened[T]) -> Rest | None:
        """
        Hand the value to those who wait.

        Returns:
            None; or, if it was closed while it was being opened, what is left to do.
        """
        with _lock():
            if self.cells.get(opening.home) is not opening:
                return opened.take_rest_locked()
            self.cells[opening.home] = opened
            if opened.has_rest:
                registry.register(opened, hold=True)
            opening.end_locked(opened, None)
        _wake(opening)
        return None

    def fail(self, opening: Opening[T], error: BaseException) -> None:
        """Tell those who wait; whoever asks next tries again."""
        with _lock():
            if self.cells.get(opening.home) is opening:
                del self.cells[opening.home]
            opening.end_locked(None, error)
        _wake(opening)

    def take_apart(self, opened: Opened[T], *, for_good: bool) -> Rest | None:
        """
        Lend it to nobody any more, and return what is left to do, if nobody else got that.

        Args:
            opened: What is about to be closed.
            for_good: Not even anew.
        """
        with _lock():
            self._closed = self._closed or for_good
            if self.cells.get(opened.home) is opened:
                del self.cells[opened.home]
            registry.forget(opened)
            return opened.take_rest_locked()

    def close(self) -> list[Opened[T]]:
        """
        Open nothing any more. Those who wait for an opening get `PoolClosed`.

        Returns:
            What is open, to be closed by the caller.
        """
        with _lock():
            self._closed = True
            cells = list(self.cells.values())
            self.cells.clear()
            openings = [cell for cell in cells if isinstance(cell, Opening)]
            for opening in openings:
                error = PoolClosed(f"The resource {self.name} was closed while it was opened.")
                opening.end_locked(None, error)
        for opening in openings:
            _wake(opening)
        return [cell for cell in reversed(cells) if isinstance(cell, Opened)]

    def begin_anew(self) -> None:
        """In a child process: nothing is open, nor closed, and what was is the parent's."""
        if self.cells:
            leave_to_parent(self.cells)
        self.cells = {}
        self._closed = False

    def _lose_ended_locked(self) -> list[Opened[T]]:
        lost = []
        for home, cell in list(self.cells.items()):
            if home is None or _sync.is_alive(home):
                continue
            del self.cells[home]
            if isinstance(cell, Opening):
                cell.end_locked(None, PoolError(f"The event loop that opened {self.name} ended."))
                _wake(cell)
            elif cell.take_rest_locked() is not None:
                registry.forget(cell)
                lost.append(cell)
        return lost


def wait_in_thread(opening: Opening[T], parker: _sync.ThreadParker) -> T:
    """
    Wait for an opening that `Once.join` returned, no longer than the current request may take.

    Raises:
        LoadTimeout: The request's deadline came first.
        BaseException: What the opener raised.
    """
    try:
        parker.park(_limit_s())
    finally:
        _stop_waiting(opening, parker)
    return _result(opening)


async def wait_in_task(opening: Opening[T], parker: _sync.AsyncParker) -> T:
    """Like `wait_in_thread`, in a task."""
    try:
        await parker.park(_limit_s())
    finally:
        _stop_waiting(opening, parker)
    return _result(opening)


def _result(opening: Opening[T]) -> T:
    if not opening.ended:
        raise LoadTimeout(f"{opening.resource} was not opened before the request's deadline.")
    return opening.result()


def _limit_s() -> float | None:
    left_s = deadline_s() - _sync.monotonic()
    return None if math.isinf(left_s) else max(0.0, left_s)


def _stop_waiting(opening: Opening[Any], parker: _sync.ThreadParker | _sync.AsyncParker) -> None:
    me, here = opening_now.get(), _blocks(parker)
    with _lock():
        opening.parkers.pop(parker, None)
        if here is not None:
            _blocked.pop(here, None)
        if me is not None and opening in me.waits_for:
            me.waits_for.remove(opening)


def _blocks(parker: _sync.ThreadParker | _sync.AsyncParker) -> _sync.Home | None:
    """The loop that stands still while `parker` waits."""
    return _sync.current_home() if isinstance(parker, _sync.ThreadParker) else None


def _wait_for_locked(opening: Opening[Any], parker: _sync.ThreadParker | _sync.AsyncParker) -> None:
    """Note who waits for `opening`: an opener, a loop; refuse what would never end."""
    me, here = opening_now.get(), _blocks(parker)
    if me is not None and me.ended:
        me = None
    if me is not None:
        _refuse_circles_locked(me, opening)
    if here is not None:
        if _needs_locked(opening, here):
            raise WrongKindOfCaller(_STANDS_STILL.format(opening.resource))
        _blocked[here] = opening
    if me is not None:
        me.waits_for.append(opening)


def _refuse_circles_locked(me: Opening[Any], opening: Opening[Any]) -> None:
    path = _path_locked(opening, me)
    if path is not None:
        names = " -> ".join((me.resource, *path))
        raise ReentrantLoad(f"Opening {me.resource} needs {me.resource} itself: {names}")
    blocked = _blocked.get(opening.home)
    if blocked is not None and _path_locked(blocked, me) is not None:
        raise WrongKindOfCaller(_STANDS_STILL.format(blocked.resource))


def _needs_locked(opening: Opening[Any], home: _sync.Home) -> bool:
    """Whether this, or what it waits for, is being opened on that loop."""
    return opening.home is home or any(_needs_locked(each, home) for each in opening.waits_for)


def _path_locked(start: Opening[Any], goal: Opening[Any]) -> list[str] | None:
    if start is goal:
        return [goal.resource]
    for following in start.waits_for:
        path = _path_locked(following, goal)
        if path is not None:
            return [start.resource, *path]
    return None


def _wake(opening: Opening[Any]) -> None:
    with _lock():
        parkers = list(opening.parkers)
        opening.parkers.clear()
    for parker in parkers:
        parker.unpark()


_all: weakref.WeakSet[Once[Any]] = weakref.WeakSet()


def _begin_anew_in_child() -> None:
    # Whoever opened something does not exist here.
    _blocked.clear()
    for once in list(_all):
        once.begin_anew()


os.register_at_fork(after_in_child=_begin_anew_in_child)
