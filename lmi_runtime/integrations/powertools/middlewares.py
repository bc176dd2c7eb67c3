"""
Middlewares below ``resolve_async``, without a thread wherever there need not be one.

Powertools runs each middleware that is no coroutine function in a thread of the loop's executor,
where it waits for all that comes after. A few requests at once fill the executor, and what they
wait for never starts. Here the threads are as many as the requests that need one: one each,
however many middlewares there are.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from types import ModuleType
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.integrations.calls import back_on_loop, in_thread
from lmi_runtime.integrations.patching import Swaps

__all__ = ["free_the_executor"]

Next = Callable[[Any], Any]

_PACKAGE = "aws_lambda_powertools.event_handler"
_VALIDATION = f"{_PACKAGE}.middlewares.openapi_validation"


def free_the_executor(module: ModuleType, swaps: Swaps) -> None:
    """Change ``event_handler.middlewares.async_utils``."""
    frame = module.AsyncMiddlewareFrame
    swaps.function(frame, "__call__", "self, app")
    swaps.function(frame, "__init__", "self, current_middleware, next_middleware")

    async def call(self: Any, app: Any) -> Any:
        return await _called(self, app)

    swaps.put(frame, "__call__", call)


async def _called(frame: Any, app: Any) -> Any:
    middleware, following = frame.current_middleware, frame.next_middleware
    extra = _entered(frame, app)
    if _is_async(middleware):
        return await middleware(app, following, **extra)
    if _is_builtin(middleware, "OpenAPIRequestValidationMiddleware"):
        # It ends with its call of the next one, which can be made here as well.
        called: list[Any] = []
        result = middleware(app, called.append, **extra)
        return await following(called[0]) if called else result
    if _is_builtin(middleware, "OpenAPIResponseValidationMiddleware"):
        # It begins with its call of the next one, which can be made here as well.
        response = await following(app)
        return middleware(app, lambda _: response, **extra)
    home = _sync.current_home()
    if isinstance(home, asyncio.AbstractEventLoop):
        return await _Crossing(home, type(frame)).run(frame, app, extra)
    return await in_thread(middleware, app, partial(back_on_loop, following), **extra)


def _entered(frame: Any, app: Any) -> dict[str, Any]:
    """Do what powertools does before each middleware; what the middleware wants besides."""
    app._push_processed_stack_frame(str(frame))
    api_gateway = sys.modules[f"{_PACKAGE}.api_gateway"]
    # Older versions have none.
    wanted: Any = getattr(api_gateway, "_resolve_extra_middleware_kwargs", lambda *_: {})
    extra: dict[str, Any] = wanted(app, frame.current_middleware)
    return extra


def _is_async(middleware: Any) -> bool:
    if inspect.iscoroutinefunction(middleware):
        return True
    # Objects: powertools' base class calls `handler`, others are called themselves.
    handler = getattr(middleware, "handler", None) or type(middleware).__call__
    return inspect.iscoroutinefunction(handler)


def _is_builtin(middleware: Any, name: str) -> bool:
    module = sys.modules.get(_VALIDATION)
    builtin = getattr(module, name, None)
    if builtin is None or not isinstance(middleware, builtin):
        return False
    # A subclass may do anything around it.
    kind = type(middleware)
    return bool(kind.handler is builtin.handler and kind.__call__ is builtin.__call__)


class _Crossing:
    """
    Middlewares that run in a thread, and what comes after them on the loop that they came from.

    Args:
        loop: The loop.
        frames: The class of frames.

    Thread safety: what it has is the loop thread's only.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, frames: type) -> None:
        self._loop = loop
        self._frames = frames
        self._tasks: set[asyncio.Future[Any]] = set()
        self._cancelled = False

    async def run(self, frame: Any, app: Any, extra: dict[str, Any]) -> Any:
        """
        Run the frame's middleware in a thread.

        A cancellation goes on to what comes after it, and the thread sees it come back from there.
        It is raised when the thread has ended.
        """
        following = self._following(frame.next_middleware)
        work = self._loop.create_task(in_thread(frame.current_middleware, app, following, **extra))
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError:
            self._cancelled = True
            for task in self._tasks:
                task.cancel()
            await _sync.shielded(lambda: asyncio.wait((work,)))
            if not work.cancelled():
                work.exception()  # what it raised gives way to the cancellation
            raise
        result = work.result()
        return await result if inspect.isawaitable(result) else result

    def _following(self, following: Next) -> Next:
        """What the middleware gets as its next one."""

        def call(app: Any) -> Any:
            if _sync.current_home() is self._loop:
                # Decorators hide that a middleware is async: it has returned what is awaited now.
                return following(app)
            if isinstance(following, self._frames) and _is_for_threads(following):
                return self._in_same_thread(following, app)
            return self._on_loop(partial(following, app))

        call.__name__ = getattr(following, "__name__", "next_middleware")
        return call

    def _in_same_thread(self, frame: Any, app: Any) -> Any:
        extra = _entered(frame, app)
        following = self._following(frame.next_middleware)
        result = frame.current_middleware(app, following, **extra)
        return self._on_loop(lambda: result) if inspect.isawaitable(result) else result

    def _on_loop(self, body: Callable[[], Awaitable[Any]]) -> Any:
        answer = _Answer()
        # In a copy of the thread's context: what middlewares set, routes see.
        self._loop.call_soon_threadsafe(self._start, body, answer)
        return answer.wait()

    def _start(self, body: Callable[[], Awaitable[Any]], answer: _Answer) -> None:
        if self._cancelled:
            answer.give(None, asyncio.CancelledError())
            return
        task = self._loop.create_task(_awaited(body))
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, answer))

    def _done(self, answer: _Answer, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            answer.give(None, asyncio.CancelledError())
            return
        error = task.exception()
        answer.give(None if error is not None else task.result(), error)


def _is_for_threads(frame: Any) -> bool:
    middleware = frame.current_middleware
    return not _is_async(middleware) and not any(
        _is_builtin(middleware, name)
        for name in ("OpenAPIRequestValidationMiddleware", "OpenAPIResponseValidationMiddleware")
    )


async def _awaited(body: Callable[[], Awaitable[Any]]) -> Any:
    return await body()


class _Answer:
    """What comes of something on a loop. Thread safety: given once; waited for by one thread."""

    def __init__(self) -> None:
        self._parker = _sync.ThreadParker()
        self._result: Any = None
        self._error: BaseException | None = None

    def give(self, result: Any, error: BaseException | None) -> None:
        """Wake who waits."""
        self._result, self._error = result, error
        self._parker.unpark()

    def wait(self) -> Any:
        """Block until it is there; return or raise it."""
        self._parker.park()
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            raise error
        finally:
            # It holds the frames it goes through, and none of them may hold it.
            del error
