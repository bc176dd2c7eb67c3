"""How decorators written for plain functions get round `async def`; what they open for a call."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from lmi_runtime import _sync, context
from lmi_runtime.context import Request

__all__ = ["in_thread", "is_async", "is_awaited_here", "request_for"]

T = TypeVar("T")


def is_async(function: Callable[..., Any]) -> bool:
    """
    Whether it is an ``async def``, though decorators may lie on top of it.

    One of those may run it to its end, and then there is nothing to await. See `is_awaited_here`,
    or look at what comes of the call.
    """
    for candidate in (function, inspect.unwrap(function)):
        while isinstance(candidate, partial):
            candidate = candidate.func
        if inspect.iscoroutinefunction(candidate):
            return True
        if inspect.iscoroutinefunction(type(candidate).__call__):
            return True
    return False


def is_awaited_here(function: Callable[..., Any]) -> bool:
    """
    Whether what it returns to the calling code has to be awaited.

    Without a loop that is not known of a decorated one: it may run its coroutine by itself.
    """
    if inspect.iscoroutinefunction(function):
        return True
    return _sync.current_home() is not None and is_async(function)


@contextmanager
def request_for(lambda_context: Any) -> Iterator[Request]:
    """
    The request that is being served; where there is none, one for the block.

    For the decorators that see an invocation come in. Under this package's runtime, or below
    ``@handler``, the request is there already. Under others this makes it, so that what is set in
    the block is nobody else's.

    Args:
        lambda_context: What the handler was called with.

    Thread safety: changes the calling context only.
    """
    request = context.peek()
    if request is not None and not request.ended:
        yield request
        return
    with context.serving(Request.from_context(lambda_context)) as request:
        yield request


async def in_thread(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """
    Call a function that blocks, in a thread that serves the same request.

    The threads are nobody's to run out of: there are as many as there are calls. A cancel scope
    waits for the thread; a cancellation of asyncio's own does not, and what comes of the thread
    is dropped then.

    Thread safety: from any task.
    """
    call = partial(function, *args, **kwargs)
    return await anyio.to_thread.run_sync(call, limiter=anyio.CapacityLimiter(math.inf))
