"""Per-worker things that are opened once, when they are first needed, and closed at the end."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextvars import Context
from typing import IO, Any, Generic, TypeVar, overload

from lmi_runtime import _sync
from lmi_runtime._lazy import ON_LOOPS, ahead
from lmi_runtime.context import worker_loop
from lmi_runtime.errors import PoolError, WrongKindOfCaller
from lmi_runtime.pools import once, registry
from lmi_runtime.pools.halves import (
    check_opener,
    finish_in_task,
    first_value,
    name_of,
    open_by_thread,
)
from lmi_runtime.pools.once import Once, Opened, OpenedByTask, OpenedByThread, Opening

__all__ = ["AsyncResource", "Resource", "resource"]

T = TypeVar("T")
F = TypeVar("F", bound=IO[Any])

BLOCKED_S = 0.05
"""An event loop that stood still for longer than this is worth a line in the log."""
CLOSE_S = 30.0
"""What the rest of an async generator may take when it is closed, unless somebody says else."""
AT_LOOP_END_S = 2.0
"""What the rest of an async generator may take when its loop ends before it was closed."""

_log = logging.getLogger(__name__)


class Resource(Generic[T]):
    """
    A thing that a plain function or generator opens; see `resource`.

    Thread safety: everything, from any thread or task.
    """

    def __init__(self, opener: Callable[[], T] | Callable[[], Iterator[T]]) -> None:
        functools.update_wrapper(self, opener)
        self._opener: Callable[[], Any] = opener
        self._once: Once[T] = Once(name_of(opener))

    def __call__(self) -> T:
        """
        The value; opens it if nobody has.

        From an event loop's thread this blocks the loop while the opener runs: await `aget`
        where it may take long.

        Raises:
            LoadTimeout: The current request's deadline came first. The opener goes on.
            PoolClosed: It has been closed.
            ReentrantLoad: It is being opened, and its opener needs it.
            WrongKindOfCaller: It needs an async resource that has to be opened on the event
                loop which this call blocks.
            BaseException: What the opener raised. The next call tries again.
        """
        cell = self._once.cells.get(None)
        if isinstance(cell, Opened):  # every request comes by here
            return cell.value
        if _sync.current_home() is None:
            return self._open_in_thread()
        started_s = _sync.monotonic()
        try:
            return self._open_in_thread()
        finally:
            self._tell_if_slow(_sync.monotonic() - started_s)

    async def aget(self) -> T:
        """The value, like calling it, but the event loop runs on while the opener does."""
        parker = _sync.async_parker()
        cell = self._once.join(None, parker, self._start)
        if isinstance(cell, Opened):
            return cell.value
        return await once.wait_in_task(cell, parker)

    @property
    def opened(self) -> bool:
        """Whether a call would return at once."""
        return self._once.value_at(None) is not None

    def close(self) -> None:
        """
        Run what is left of the generator; calls raise `PoolClosed` from now on.

        What it raises is logged. Nothing happens when it is closed already. Blocks.
        """
        for opened in self._once.close():
            if (rest := self._once.take_apart(opened, for_good=True)) is not None:
                rest()

    async def aclose(self) -> None:
        """Like `close`, in a thread."""
        await _sync.offload(self.close)

    def __repr__(self) -> str:
        return f"<resource {self._once.name}{' (open)' if self.opened else ''}>"

    def _open_in_thread(self) -> T:
        parker = _sync.ThreadParker()
        cell = self._once.join(None, parker, self._start)
        if isinstance(cell, Opened):
            return cell.value
        return once.wait_in_thread(cell, parker)

    def _start(self, opening: Opening[T]) -> None:
        # A thread of its own: whoever asks first may leave at its deadline, like all others.
        _sync.spawn(lambda: self._run(opening), name=f"open {self._once.name}")

    def _run(self, opening: Opening[T]) -> None:
        context = Context()  # for both halves of a generator
        context.run(once.opening_now.set, opening)
        try:
            value, rest = context.run(open_by_thread, self._opener, context)
        except BaseException as error:
            self._once.fail(opening, error)
            return
        left = self._once.succeed(opening, OpenedByThread(self._once, None, value, rest))
        if left is not None:
            left()

    def _tell_if_slow(self, took_s: float) -> None:
        if took_s > BLOCKED_S:
            name = self._once.name
            hint = "Opening %s blocked the event loop for %.0f ms; `await %s.aget()` would not"
            _log.warning(hint, name, took_s * 1000, name)


class AsyncResource(Generic[T]):
    """
    A thing that an async function or generator opens; see `resource`.

    Thread safety: everything, from any thread or task.
    """

    def __init__(self, opener: Callable[[], Awaitable[T]] | Callable[[], AsyncIterator[T]]) -> None:
        from inspect import isasyncgenfunction

        ahead(*ON_LOOPS)
        functools.update_wrapper(self, opener)
        self._opener: Callable[[], Any] = opener
        self._generates = isasyncgenfunction(opener)
        self._once: Once[T] = Once(name_of(opener))

    async def __call__(self) -> T:
        """
        The value; opens it if nobody has on this event loop.

        Raises:
            LoadTimeout: The current request's deadline came first. The opener goes on.
            PoolClosed: It has been closed.
            ReentrantLoad: It is being opened, and its opener needs it.
            BaseException: What the opener raised. The next call tries again.
        """
        cell = self._once.cells.get(_sync.current_home())
        if isinstance(cell, Opened):
            return cell.value
        parker = _sync.async_parker()
        cell = self._once.join(parker.home, parker, self._start)
        if isinstance(cell, Opened):
            return cell.value
        return await once.wait_in_task(cell, parker)

    def get(self) -> T:
        """
        The value, for a thread; opened on the worker's event loop if it is not open yet.

        Raises:
            WrongKindOfCaller: It is not open, and this is an event loop's own thread, or no
                loop of the worker runs.
            LoadTimeout: The current request's deadline came first. The opener goes on.
            PoolClosed: It has been closed.
            BaseException: What the opener raised. The next call tries again.
        """
        here = _sync.current_home()
        home = here or self._home_for_threads()
        opened = None if home is None else self._once.value_at(home)
        if opened is not None:
            return opened.value
        if here is not None or home is None:
            raise WrongKindOfCaller(self._why_not(here))
        parker = _sync.ThreadParker()
        cell = self._once.join(home, parker, self._start)
        if isinstance(cell, Opened):
            return cell.value
        return once.wait_in_thread(cell, parker)

    @property
    def opened(self) -> bool:
        """Whether `await` would return at once here; from a thread, whether `get` would."""
        home = _sync.current_home() or self._home_for_threads()
        return home is not None and self._once.value_at(home) is not None

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """
        Like `aclose`, for a thread: waits while the event loop runs the rest.

        Raises:
            WrongKindOfCaller: This is an event loop's own thread.
        """
        if _sync.current_home() is not None:
            raise WrongKindOfCaller(f"An event loop cannot wait: await {self._once.name}.aclose().")
        for opened in self._once.close():
            if opened.has_rest:
                registry.close_from_thread(opened, timeout_s)

    async def aclose(self, timeout_s: float = CLOSE_S) -> None:
        """
        Run what is left of the generator, on the event loop that it runs on.

        Calls raise `PoolClosed` from now on. What it raises is logged, and it is cancelled after
        `timeout_s` seconds, which may be infinite. Nothing happens when it is closed already.
        """
        for opened in self._once.close():
            if opened.has_rest:
                await registry.close_at_home(opened, timeout_s)

    def __repr__(self) -> str:
        return f"<async resource {self._once.name}{' (open)' if self.opened else ''}>"

    def _home_for_threads(self) -> _sync.Home | None:
        for home in self._once.homes():
            return home
        loop = worker_loop()
        return loop if loop is not None and _sync.is_alive(loop) else None

    def _why_not(self, here: _sync.Home | None) -> str:
        name = self._once.name
        if here is not None:
            return f"{name} is not open, and opening it would block this event loop: await it."
        return f"{name} is opened on an event loop, and none is known to run: await it in a task."

    def _start(self, opening: Opening[T]) -> None:
        body = functools.partial(self._live if self._generates else self._run, opening)
        if not _sync.spawn_task_on(opening.home, body, name=f"open {self._once.name}"):
            raise PoolError(f"The event loop that should open {self._once.name} has ended.")

    async def _run(self, opening: Opening[T]) -> None:
        once.opening_now.set(opening)
        try:
            value = await self._opener()
        except BaseException as error:
            self._fail(opening, error)
            return
        self._once.succeed(opening, OpenedByTask(self._once, opening.home, value, None))

    async def _live(self, opening: Opening[T]) -> None:
        """One task for both halves of the generator, as scopes and groups within it demand."""
        once.opening_now.set(opening)
        generator = self._opener()
        life = _Life(generator)
        try:
            with life.scope:
                value = await first_value(generator, self._once.name)
                opened = OpenedByTask(self._once, opening.home, value, life.end)
                if self._once.succeed(opening, opened) is None:
                    await self._until_closed(opened, life)
                if not life.inherited:
                    await finish_in_task(generator, self._once.name)
        except BaseException as error:
            self._fail(opening, error)
        finally:
            life.ended.set()

    async def _until_closed(self, opened: Opened[T], life: _Life) -> None:
        import anyio

        try:
            await life.stop.wait()
        except anyio.get_cancelled_exc_class():
            # The loop ends. The rest may still run, but not for ever, and another loop opens anew.
            self._once.take_apart(opened, for_good=False)
            life.scope.shield = True
            life.scope.deadline = anyio.current_time() + AT_LOOP_END_S

    def _fail(self, opening: Opening[T], error: BaseException) -> None:
        if not isinstance(error, Exception):
            # Who waits must not take the opener's cancellation for its own.
            cancelled = PoolError(f"The opening of {self._once.name} was cancelled.")
            cancelled.__cause__, error = error, cancelled
        self._once.fail(opening, error)


class _Life:
    """
    How the task of an async generator is told to end, and says that it has.

    Thread safety: loop thread only.
    """

    def __init__(self, generator: Any) -> None:
        import anyio

        self._generator = generator  # so that whoever keeps this keeps it from being finalized
        self._process = os.getpid()
        self.scope = anyio.CancelScope()
        self.stop = anyio.Event()
        self.ended = anyio.Event()

    @property
    def inherited(self) -> bool:
        """Whether this is a child, which may unwind the loop that it was forked from."""
        return os.getpid() != self._process

    async def end(self) -> None:
        self.stop.set()
        try:
            await self.ended.wait()
        finally:
            # When time is up for whoever waits, it is for the generator.
            if not self.ended.is_set():
                self.scope.cancel()


@overload
def resource(opener: Callable[[], AsyncIterator[T]]) -> AsyncResource[T]: ...  # type: ignore[overload-overlap]
@overload
def resource(opener: Callable[[], Coroutine[Any, Any, T]]) -> AsyncResource[T]: ...  # type: ignore[overload-overlap]
@overload
def resource(opener: Callable[[], F]) -> Resource[F]: ...  # an open file iterates over lines
@overload
def resource(opener: Callable[[], Iterator[T]]) -> Resource[T]: ...
@overload
def resource(opener: Callable[[], T]) -> Resource[T]: ...
def resource(opener: Callable[[], Any]) -> Resource[Any] | AsyncResource[Any]:
    """
    Open something once per worker process, when it is first asked for, for all requests.

    A function returns it; a generator yields it, and what follows the ``yield`` closes it when
    the worker stops, opened last first. Sync ones are called, ``settings()``; async ones
    awaited, ``await client()``. The decorated function takes no parameters; others of its kind
    it calls by name, and they are closed after it.

    ::

        @resource
        def settings() -> Settings:
            return Settings.from_parameter_store()

        @resource
        async def client() -> AsyncIterator[Client]:
            async with Client(settings().url) as opened:
                yield opened

    However many ask at once, the opener runs once, for nobody's request in particular: in an
    empty context, a sync one in a thread of its own, an async one in a task of its own. Whoever
    asks waits until its request's deadline at most. What the opener raises is raised in all who
    waited, and the next to ask tries again; limit the opener's own time where it may hang.

    An async resource belongs to the event loop it was opened on: another loop in the same
    process opens its own, and when a loop ends, so does what was open on it. After a fork
    the child opens anew and leaves what it inherited untouched.

    Raises:
        TypeError: It cannot be called without arguments.

    Thread safety: the resource is used by all requests at once, so what the opener makes has
    to be fit for that.
    """
    import inspect

    check_opener(opener)
    if inspect.isasyncgenfunction(opener) or inspect.iscoroutinefunction(opener):
        return AsyncResource(opener)
    return Resource(opener)
