"""Callables under an order that is written down."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.stress.tools import queues
from lmi_runtime.stress.tools.queues import TIMEOUT_S, Queue, TurnNeverCame

__all__ = ["Schedule", "async_point", "point"]

_START = "<start>"
_LOOP = "event loop"


class Schedule:
    """
    Run callables under an order that is written down, one at a time.

    Each entry says who goes on from where: ``"a:read"`` lets ``a`` pass its point ``read``, and
    run until it comes to its next point in the schedule, or ends. Until then nobody else moves.
    Points are calls of `point` (in a task of `async_point`) in the code, or lines of it::

        schedule = Schedule("a:sell", "b:sell", lines={"sell": (handle, "stock[sku] -= 1")})
        schedule.run(a=lambda: handle(event, None), b=lambda: handle(event, None))

    A point that the schedule does not mention, or not any more, is passed.

    Args:
        entries: ``"who:point"``, in order.
        lines: Points that stand before a line of a function: the function, and a piece of text
            that only this line has. In threads only; not for tasks.
        timeout_s: How long, in real seconds, nothing may happen until the schedule is given up
            as impossible.

    Raises:
        ValueError: An entry is written otherwise, or a line is not to be found.

    Thread safety: `run` is for one thread and for one time; points are for any.
    """

    def __init__(
        self,
        *entries: str,
        lines: Mapping[str, tuple[Callable[..., Any], str]] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        written = [_parsed(entry) for entry in entries]
        self.actors = tuple(dict.fromkeys(actor for actor, _ in written))
        # Also what lies before the first points is run by one after the other.
        self._entries = [*((actor, _START) for actor in self.actors), *written]
        self._queue = Queue(0, timeout_s, self._missing)
        self._timeout_s = timeout_s
        self._lines = {_line_of(*where): name for name, where in (lines or {}).items()}
        self._lock = _sync.Lock()
        self._passed = dict.fromkeys(self.actors, -1)  # guarded by _lock; place in _entries
        self._threads: dict[str, int] = {}  # guarded by _lock; identities of those that began
        self._ended: dict[str, tuple[Any, BaseException | None]] = {}  # guarded by _lock
        self._began = False  # guarded by _lock
        self._loop_thread = 0  # written before any task begins

    def run(self, *, backend: str = "asyncio", **actors: Callable[[], Any]) -> dict[str, Any]:
        """
        Run them: functions in threads, coroutine functions as tasks of one event loop.

        Args:
            backend: Of the tasks: ``asyncio`` or ``trio``.
            **actors: Callables without arguments, by the names the schedule uses.

        Returns:
            What each returned.

        Raises:
            TurnNeverCame: The schedule is not possible: somebody ended, or waits for something,
                before coming to a point. Code that is mended often has this answer.
            ExceptionGroup: More than one of them raised; what one alone raised comes as it is.
            ValueError: Others than those in the schedule.
        """
        if set(actors) != set(self.actors):
            raise ValueError(f"The schedule is of {', '.join(self.actors)}.")
        with self._lock:
            if self._began:
                raise RuntimeError("A schedule runs once: make another one.")
            self._began = True
        tasks = {name: call for name, call in actors.items() if inspect.iscoroutinefunction(call)}
        starts = [(n, self._body(n, call)) for n, call in actors.items() if n not in tasks]
        if tasks:
            starts.append((_LOOP, lambda: self._run_tasks(tasks, backend)))
        threads = [
            _sync.spawn(body, name=name, context=contextvars.copy_context())
            for name, body in starts
        ]
        failure: BaseException | None = None
        try:
            self._queue.wait(len(self._entries))
        except TurnNeverCame as error:
            failure = error
        for thread in threads:
            thread.join(self._timeout_s)
        return self._results(failure)

    def _results(self, failure: BaseException | None) -> dict[str, Any]:
        with self._lock:
            ended = dict(self._ended)
        errors = [
            error
            for name in (*self.actors, _LOOP)
            if (error := ended.get(name, (None, None))[1]) is not None
            and not isinstance(error, TurnNeverCame)
        ]
        if len(errors) > 1:
            raise BaseExceptionGroup("several of those in the schedule failed", errors)
        if errors:
            raise errors[0]
        if failure is not None:
            raise failure
        return {name: ended[name][0] for name in self.actors}

    # ------------------------------------------------------------------ those that run

    def _body(self, actor: str, call: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            result, error = None, None
            try:
                self._begin(actor)
                point(_START)
                with self._watching_lines():
                    result = call()
            except BaseException as raised:
                error = raised
            self._end(actor, result, error)

        return run

    def _run_tasks(
        self, tasks: Mapping[str, Callable[[], Coroutine[Any, Any, Any]]], backend: str
    ) -> None:
        import anyio

        async def run(actor: str) -> None:
            result, error = None, None
            try:
                self._begin(actor)
                await async_point(_START)
                result = await tasks[actor]()
            except BaseException as raised:
                error = raised
                if not isinstance(raised, Exception):
                    raise
            finally:
                self._end(actor, result, error)

        async def run_all() -> None:
            self._loop_thread = _sync.current_thread_id()
            async with anyio.create_task_group() as group:
                for actor in tasks:
                    group.start_soon(run, actor, name=actor)

        try:
            anyio.run(run_all, backend=backend)
        except BaseException as error:
            with self._lock:
                self._ended[_LOOP] = (None, error)
            self._queue.break_off(f"the event loop ended: {error!r}")

    def _begin(self, actor: str) -> None:
        _here.set((self, actor))
        with self._lock:
            self._threads[actor] = _sync.current_thread_id()

    def _end(self, actor: str, result: Any, error: BaseException | None) -> None:
        with self._lock:
            self._ended[actor] = (result, error)
            last = self._passed[actor]
            left = self._next_of_locked(actor)
        if left is not None:
            how = f"raised {error!r}" if error is not None else "ended"
            self._queue.break_off(f"{self._named(left)} never came: {actor} {how} before it")
        elif last >= 0:
            self._queue.move_to(last + 1)

    # ------------------------------------------------------------------ points

    def _arrive(self, actor: str, name: str) -> int | None:
        """The place to wait for; None if there is nothing to wait for here."""
        with self._lock:
            place = self._next_of_locked(actor)
            if place is None or not self._mentions(name, actor, place):
                return None
            if self._entries[place][1] != name:
                why = f"{actor} came to {name!r} before {self._named(place)}"
                place = None
            else:
                last, self._passed[actor] = self._passed[actor], place
        if place is None:
            self._queue.break_off(why)
            raise TurnNeverCame(why)
        if last >= 0:
            self._queue.move_to(last + 1)
        return place

    def _next_of_locked(self, actor: str) -> int | None:
        after = range(self._passed[actor] + 1, len(self._entries))
        return next((place for place in after if self._entries[place][0] == actor), None)

    def _mentions(self, name: str, actor: str, since: int) -> bool:
        return (actor, name) in self._entries[since:]

    def _named(self, place: int) -> str:
        actor, name = self._entries[place]
        return f"the start of {actor}" if name == _START else f"{actor}:{name}"

    def _missing(self, at: int) -> str:
        """What whoever is to run at a place did not do, and where it is."""
        actor = self._entries[at][0]
        with self._lock:
            wanted = self._next_of_locked(actor)
            began, ident = self._passed[actor] >= at, self._threads.get(actor, 0)
        if not began:
            return f"{self._named(at)} never came"
        what = "did not end" if wanted is None else f"did not come to {self._named(wanted)}"
        in_a_task = ident == self._loop_thread
        where = "" if in_a_task else _where(sys._current_frames().get(ident))
        return f"{actor}, let go on from {self._named(at)}{where}, {what}"

    # ------------------------------------------------------------------ lines

    @contextlib.contextmanager
    def _watching_lines(self) -> Iterator[None]:
        """Lines become points in this thread; whoever traced it before is not called meanwhile."""
        if not self._lines:
            yield
            return
        codes = {code for code, _ in self._lines}
        before = sys.gettrace()

        def at_call(frame: FrameType, _event: str, _argument: Any) -> Any:
            return at_line if frame.f_code in codes else None

        def at_line(frame: FrameType, event: str, _argument: Any) -> Any:
            name = self._lines.get((frame.f_code, frame.f_lineno))
            if event == "line" and name is not None:
                point(name)
            return at_line

        sys.settrace(at_call)
        try:
            yield
        finally:
            sys.settrace(before)


_here: contextvars.ContextVar[tuple[Schedule, str] | None] = contextvars.ContextVar(
    "lmi_runtime_schedule", default=None
)


def point(name: str) -> None:
    """
    A point that a `Schedule` may name; without one it does nothing.

    Raises:
        TurnNeverCame: The schedule is not possible.
        RuntimeError: In a task, where it would hold up the event loop: use `async_point`.

    Thread safety: any thread.
    """
    here = _here.get()
    if here is None:
        return
    schedule, actor = here
    place = schedule._arrive(actor, name)
    if place is None:
        return
    if _sync.current_thread_id() == schedule._loop_thread:
        raise RuntimeError(f"a task waits with `await async_point({name!r})`")
    schedule._queue.wait(place)


async def async_point(name: str) -> None:
    """
    The same as `point`, for a task.

    Raises:
        TurnNeverCame: The schedule is not possible.

    Thread safety: any task.
    """
    here = _here.get()
    if here is None:
        return
    schedule, actor = here
    place = schedule._arrive(actor, name)
    if place is not None:
        await schedule._queue.wait_async(place)


def _parsed(entry: str) -> tuple[str, str]:
    actor, colon, name = entry.partition(":")
    if not (actor and colon and name):
        raise ValueError(f"{entry!r} is not written 'who:point'.")
    return actor, name


def _line_of(function: Callable[..., Any], text: str) -> tuple[CodeType, int]:
    plain: Any = inspect.unwrap(function)
    lines, first = inspect.getsourcelines(plain)
    found = [number for number, line in enumerate(lines, first) if text in line]
    if len(found) != 1:
        raise ValueError(f"{len(found)} lines of {plain.__qualname__} have the text {text!r}.")
    return plain.__code__, found[0]


def _where(frame: FrameType | None) -> str:
    """Where a thread is in somebody's code, rather than in that of primitives."""
    while frame is not None and frame.f_code.co_filename in _PRIMITIVES:
        frame = frame.f_back
    if frame is None:
        return ""
    return f" and now at {os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


_PRIMITIVES = (__file__, queues.__file__, inspect.getsourcefile(_sync.Condition))
