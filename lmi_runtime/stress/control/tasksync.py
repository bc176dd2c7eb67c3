"""
What asyncio's own primitives tell the scheduler: where they were made, who holds them.

They need no model, since all they do goes through the event loop. But a deadlock is told with
their names and holders, and a recorded run must know what they order.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from lmi_runtime.stress.control.active import caller
from lmi_runtime.stress.model import StepKind

__all__ = ["replacements"]

_ASYNCIO = asyncio.__file__.rpartition("/")[0]


def replacements() -> Iterator[tuple[Any, str, Any]]:
    """Class, name and what stands in there, for as long as control lasts."""
    for kind in _KINDS:
        yield kind, "__init__", _making(kind.__init__)
    yield asyncio.Lock, "acquire", _acquiring(asyncio.Lock.acquire)
    yield asyncio.Lock, "release", _releasing(asyncio.Lock.release)
    yield asyncio.Semaphore, "acquire", _acquiring(asyncio.Semaphore.acquire, owned=False)
    yield asyncio.Semaphore, "release", _releasing(asyncio.Semaphore.release)
    yield asyncio.Event, "set", _before("notify", asyncio.Event.set)
    yield asyncio.Event, "is_set", _if_so("wake", asyncio.Event.is_set)
    yield asyncio.Event, "wait", _awaiting("wake", asyncio.Event.wait)
    yield asyncio.Queue, "put_nowait", _before("notify", asyncio.Queue.put_nowait)
    yield asyncio.Queue, "get_nowait", _before("wake", asyncio.Queue.get_nowait)


_KINDS: tuple[Any, ...] = (
    asyncio.Barrier,
    asyncio.Condition,
    asyncio.Event,
    asyncio.Lock,
    asyncio.Queue,
    asyncio.Semaphore,
)


def _making(real: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(real)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.startswith(_BELOW):
            frame = frame.f_back
        if frame is not None:
            self._stress_made = (frame.f_code, frame.f_lineno, frame.f_lasti)

    return __init__


_BELOW = (_ASYNCIO, __file__)


def _acquiring(real: Callable[..., Any], *, owned: bool = True) -> Callable[..., Any]:
    @functools.wraps(real)
    async def acquire(self: Any) -> Any:
        taken = await real(self)
        if owned:
            self._stress_owner = asyncio.current_task()
        _record("acquire", self)
        return taken

    return acquire


def _releasing(real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def release(self: Any) -> Any:
        _record("release", self)
        result = real(self)
        self._stress_owner = None
        return result

    return release


def _before(kind: StepKind, real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def method(self: Any, *args: Any) -> Any:
        _record(kind, self)
        return real(self, *args)

    return method


def _if_so(kind: StepKind, real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def method(self: Any) -> Any:
        result = real(self)
        if result:
            _record(kind, self)
        return result

    return method


def _awaiting(kind: StepKind, real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    async def method(self: Any) -> Any:
        result = await real(self)
        _record(kind, self)
        return result

    return method


def _record(kind: StepKind, thing: Any) -> None:
    here = caller()
    if here is not None and here[0].recorder is not None:
        here[0].recorder.event(here[1], kind, thing)
