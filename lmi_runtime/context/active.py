"""The current request of a task or thread."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, copy_context

from lmi_runtime.context.request import Request
from lmi_runtime.errors import NoActiveRequest

__all__ = ["carried", "current", "deadline_s", "enter", "peek", "serving"]

# Plain variables: they are set and never deleted, and every start pays for what makes others.
_variable: ContextVar[Request | None] = ContextVar(f"{__name__}.Active.request", default=None)
_get = _variable.get
_set = _variable.set
_carried: ContextVar[bool] = ContextVar(f"{__name__}.Active.is_carried", default=False)
_is_carried = _carried.get
_set_carried = _carried.set


def enter(request: Request) -> None:
    """
    Make `request` the current one in the calling context.

    There is no way back on purpose: give every invocation a context of its own, as in
    ``Context().run(enter, request)``, and run its code in that.

    Thread safety: changes the calling context only.
    """
    _set(request)


@contextmanager
def serving(request: Request) -> Iterator[Request]:
    """
    Make `request` the current one in the block, and end it there.

    For whoever is called in a context that is not a request's own and has to leave it as it was.

    Thread safety: changes the calling context only.
    """
    token = _set(request)
    try:
        yield request
    finally:
        request.end()
        # A generator may be closed in another context than it began in: there is nothing to undo.
        with suppress(ValueError):
            _variable.reset(token)


def current() -> Request:
    """
    The request that the calling task or thread is serving.

    Raises:
        NoActiveRequest: This code does not belong to a request, or belongs to one that has
            been answered already. The text says what to do about it.

    Thread safety: from any task or thread.
    """
    request = _get()
    if request is None:
        raise NoActiveRequest(_OUTSIDE)
    if request.ended:
        raise NoActiveRequest(_ENDED.format(request.request_id))
    return request


def peek() -> Request | None:
    """
    Like `current()`, but None outside a request, and a request that has ended as well.

    For logs: a line written by a task that outlived its request still belongs to it. One written
    in a context that was only `carried` there does not.

    Thread safety: from any task or thread. Never raises.
    """
    request = _get()
    if request is not None and request.ended and _is_carried():
        return None
    return request


def carried() -> Context | None:
    """
    A copy of the calling context for a thread that did not ask for it; None outside a request.

    In it the request is the current one until it has been answered, and nobody's after that.

    Thread safety: from any task or thread.
    """
    request = peek()
    if request is None or request.ended:
        return None
    copy = copy_context()
    copy.run(_set_carried, True)
    return copy


def deadline_s() -> float:
    """
    Until when the calling task or thread may wait, in seconds of the monotonic clock.

    Infinite outside a request, where the platform set no limit, and for work that outlived its
    request: that is not over because its request is.

    Thread safety: from any task or thread. Never raises.
    """
    request = _get()
    if request is None or request.ended or request.deadline_s is None:
        return math.inf
    return request.deadline_s


_OUTSIDE = (
    "This code is not serving a request. Ask for the request inside the handler, and start "
    "threads that need it with lmi_runtime.spawn_thread, ContextThreadPoolExecutor, "
    "asyncio.to_thread or anyio.to_thread: a plain thread or executor starts without one."
)
_ENDED = (
    "Request {} has been answered already, and this task or thread outlived it. Wait for "
    "background work before the handler returns, or pass it the values it needs."
)
