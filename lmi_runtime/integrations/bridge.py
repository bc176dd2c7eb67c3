"""
Plain functions in threads that call functions to be awaited, by the task that waits for them.

What they call runs in that task, not in another one: so its cancellation, time-outs and
cancel scopes are those of the caller, with asyncio and trio alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, TypeVar

from lmi_runtime import _sync

__all__ = ["call_back", "in_bridged_thread", "way_back"]

T = TypeVar("T")


async def in_bridged_thread(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """
    Call a function in a thread of its own, where it may `call_back`.

    It finds the context variables of the calling task, and the task finds what they are afterwards.

    A cancellation is raised in what it has called back, and from there goes through the function.
    It is raised here when the thread has ended, whatever the function made of it.

    Raises:
        RuntimeError: No event loop runs in this thread.

    Thread safety: in any task.
    """
    return await _Bridge(partial(function, *args, **kwargs)).cross()  # type: ignore[no-any-return]


def call_back(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """
    Have ``function(*args, **kwargs)`` called and awaited by the task that waits for this thread.

    It finds the context variables of the calling thread, and the thread finds what they are
    afterwards. Works in threads that were started with this one's context as well.

    Raises:
        RuntimeError: No task waits for this thread, or not any more; or it is a loop's own.

    Thread safety: from any such thread; of several, one call is awaited after the other.
    """
    return way_back()(function, *args, **kwargs)


def way_back() -> Callable[..., Any]:
    """
    `call_back` to the task that waits for this thread, for other threads as well.

    Raises:
        RuntimeError: No task waits for this thread.

    Thread safety: what is returned, as `call_back`.
    """
    bridge = _here.get()
    if bridge is None:
        raise RuntimeError("no task waits for this thread")
    return bridge.call_back


class _Call:
    """Something to be called and awaited. Thread safety: `wait` in one thread, else another."""

    __slots__ = ("_error", "_parker", "_value", "context", "function")

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.context = copy_context()
        self._parker = _sync.ThreadParker()
        self._value: Any = None
        self._error: BaseException | None = None

    def wait(self) -> Any:
        self._parker.park()
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            raise error
        finally:
            del error  # it holds the frames it goes through, and none of them may hold it

    def answer(self, value: Any) -> None:
        self._value = value
        self._parker.unpark()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._parker.unpark()


class _Bridge:
    """Between a task and its thread. Thread safety: as each method says."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._lock = _sync.Lock()
        self._asked: deque[_Call] = deque()  # guarded by _lock
        self._parker: _sync.AsyncParker | None = None  # guarded by _lock
        self._is_over = False  # guarded by _lock
        self._value: Any = None  # set before _is_over
        self._error: BaseException | None = None  # set before _is_over
        self._cancelled: BaseException | None = None  # the task only

    def call_back(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """From any thread but a loop's."""
        if _sync.current_home() is not None:
            raise RuntimeError("an event loop runs in this thread: await the function there")
        call = _Call(partial(function, *args, **kwargs))
        self._ask(call)
        try:
            return call.wait()
        finally:
            _take_over(call.context)

    def _ask(self, call: _Call) -> None:
        with self._lock:
            if self._is_over:
                raise RuntimeError("the task that waited for this thread is not there any more")
            self._asked.append(call)
            self._wake()

    async def cross(self) -> Any:
        """In the task."""
        context = copy_context()
        context.run(_here.set, self)
        _sync.spawn(self._run, name=_name(self._function), context=context)
        try:
            await self._serve()
        finally:
            self._close()
        _take_over(context)
        error = self._cancelled or self._error
        if error is None:
            return self._value
        self._cancelled = self._error = None
        try:
            raise error
        finally:
            del error  # as above

    def _run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error
        with self._lock:
            self._is_over = True
            self._wake()

    def _wake(self) -> None:
        parker, self._parker = self._parker, None
        if parker is not None:
            parker.unpark()

    async def _serve(self) -> None:
        while True:
            with self._lock:
                call = self._asked.popleft() if self._asked else None
                if call is None and self._is_over:
                    return
                parker = self._parker = _sync.async_parker() if call is None else None
            if call is not None:
                await self._carry_out(call)
            elif parker is not None:
                await self._wait(parker)

    async def _wait(self, parker: _sync.AsyncParker) -> None:
        try:
            await _sync.shielded(parker.park)
        except GeneratorExit:
            raise
        except BaseException as error:
            self._cancelled = error

    async def _carry_out(self, call: _Call) -> None:
        if self._cancelled is not None:
            call.fail(self._cancelled)
            return
        try:
            value = await _Stepped(call.context, _awaited(call.function))
        except GeneratorExit:
            call.fail(RuntimeError("the event loop has ended"))
            raise
        except BaseException as error:
            if not isinstance(error, Exception):
                self._cancelled = error
            call.fail(error)
        else:
            call.answer(value)

    def _close(self) -> None:
        with self._lock:
            self._is_over = True
            asked, self._asked = self._asked, deque()
        for call in asked:
            call.fail(RuntimeError("the task that waited for this thread is not there any more"))


def _name(function: Any) -> str:
    inner = getattr(function, "func", function)
    return str(getattr(inner, "__qualname__", type(inner).__qualname__))


_here: ContextVar[_Bridge | None] = ContextVar("lmi_runtime.integrations.bridge", default=None)


def _take_over(context: Context) -> None:
    """Set the variables here as they were set there, as if all had happened here."""
    for variable, value in context.items():
        if variable is not _here and variable.get(_MISSING) is not value:
            variable.set(value)


_MISSING: Any = object()


async def _awaited(function: Callable[[], Any]) -> Any:
    made = function()
    return await made if isinstance(made, Awaitable) else made


class _Stepped:
    """A coroutine that is awaited in a context of its own, by a task which has another."""

    def __init__(self, context: Context, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._context = context
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        run = self._context.run
        step = partial(self._coroutine.send, None)
        while True:
            try:
                waits_for = run(step)
            except StopIteration as end:
                return end.value
            try:
                step = partial(self._coroutine.send, (yield waits_for))
            except BaseException as error:
                step = partial(self._coroutine.throw, error)
