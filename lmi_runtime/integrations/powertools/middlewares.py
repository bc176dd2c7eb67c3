"""
Middlewares below ``resolve_async``, without a thread wherever there need not be one.

Powertools runs each middleware that is no coroutine function in a thread of the loop's executor,
where it waits for all that comes after. A few requests at once fill the executor, and what they
wait for never starts. Here the threads are as many as the requests that need one: one each,
however many middlewares there are.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.integrations.bridge import in_bridged_thread, way_back
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
    result = await in_bridged_thread(_in_thread, frame, app, extra)
    return await result if inspect.isawaitable(result) else result


def _in_thread(frame: Any, app: Any, extra: dict[str, Any]) -> Any:
    return frame.current_middleware(app, _from_thread(frame, way_back()), **extra)


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


def _from_thread(frame: Any, call_back: Callable[..., Any]) -> Next:
    """What the middleware of a frame gets as its next one, where it runs in a thread."""
    following = frame.next_middleware

    def call(app: Any) -> Any:
        if _sync.current_home() is not None:
            # Decorators hide that a middleware is async: it has returned what is awaited now.
            return following(app)
        if isinstance(following, type(frame)) and _is_for_threads(following):
            result = following.current_middleware(
                app, _from_thread(following, call_back), **_entered(following, app)
            )
            return call_back(lambda: result) if inspect.isawaitable(result) else result
        return call_back(following, app)

    call.__name__ = getattr(following, "__name__", "next_middleware")
    return call


def _is_for_threads(frame: Any) -> bool:
    middleware = frame.current_middleware
    return not _is_async(middleware) and not any(
        _is_builtin(middleware, name)
        for name in ("OpenAPIRequestValidationMiddleware", "OpenAPIResponseValidationMiddleware")
    )
