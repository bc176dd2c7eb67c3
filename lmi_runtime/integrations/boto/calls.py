"""Calls that block, for tasks."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel
import anyio.to_thread
from botocore.client import BaseClient  # type: ignore[import-untyped]

from lmi_runtime import _sync, context
from lmi_runtime.integrations.boto.deadlines import bounded, bounded_by, late
from lmi_runtime.integrations.boto.sessions import LEAST_CONNECTIONS

__all__ = ["call"]

T = TypeVar("T")

_limiters: anyio.lowlevel.RunVar[WeakKeyDictionary[Any, anyio.CapacityLimiter]]
_limiters = anyio.lowlevel.RunVar("lmi_runtime.integrations.boto.limiters")
"""Of each client, on each event loop; loop thread only."""


async def call(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """
    Call a client's method in a thread that serves the same request, until its deadline.

    ::

        item = await call(table.get_item, TableName="orders", Key={"id": {"S": "1"}})

    A client has as many calls under way from one event loop as it keeps connections
    (`max_pool_connections`); others wait for their turn. The client is made `bounded`, wherever it
    comes from. Functions that are not a client's, such as one that pages through results, share
    one such limit; only the clients that they use decide when their calls end.

    At the deadline, or when the task is cancelled, the task goes on at once. The thread does not:
    it ends when its call does, at the deadline as a rule, counts no longer, and what comes of it
    is dropped. Like any call that was not waited for, it may have had its effect.

    Raises:
        DeadlineExceeded: The request's deadline came first.
        TypeError: The function has to be awaited.
        Exception: What the function raised.

    Thread safety: in tasks of asyncio and of trio.
    """
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{_name(function)} blocks nothing: await it.")
    deadline_s = context.deadline_s()
    left_s = deadline_s - _sync.monotonic()
    if left_s <= 0:
        raise late(_name(function))

    def work() -> T:
        with bounded_by(deadline_s):
            return function(*args, **kwargs)

    with anyio.move_on_after(None if math.isinf(left_s) else left_s):
        limiter = _limiter_of(getattr(function, "__self__", None))
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)
    raise late(_name(function))


def _limiter_of(owner: Any) -> anyio.CapacityLimiter:
    try:
        limiters = _limiters.get()
    except LookupError:
        limiters = WeakKeyDictionary()
        _limiters.set(limiters)
    whose = owner if isinstance(owner, BaseClient) else BaseClient  # itself: everything else
    limiter = limiters.get(whose)
    if limiter is None:
        limiter = limiters[whose] = anyio.CapacityLimiter(_calls_at_once(whose))
    return limiter


def _calls_at_once(whose: Any) -> int:
    if whose is BaseClient:
        facts = context.worker()
        return max(LEAST_CONNECTIONS, facts.slots + facts.spare)
    bounded(whose)
    return int(whose.meta.config.max_pool_connections)


def _name(function: Callable[..., object]) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))
