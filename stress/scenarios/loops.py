"""What anyio needs so that the same choices lead to the same run on a controlled loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from typing import Any

from anyio._backends import _asyncio as backend

__all__ = ["repeatable"]

_numbers = itertools.count(1)


def _unwatched(function: Any) -> Any:
    """The function itself, at no place where a thread is preempted."""
    function.__code__ = function.__code__.replace(co_filename="<not watched>")
    return function


@_unwatched
def _hash_of(thing: Any) -> int:
    number: int | None = getattr(thing, "_number", None)
    if number is None:
        number = thing._number = next(_numbers)
    return number


class _NumberedTask(asyncio.Task[Any]):
    __hash__ = _hash_of


class _NumberedScope(backend.CancelScope):
    __hash__ = _hash_of


async def repeatable(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """
    Run `body` so that the same choices lead to the same run.

    anyio keeps tasks and scopes in sets and cancels them in the order of the set, which depends
    on where they happen to lie in memory; here they hash to numbers. And a cancelled scope asks
    for a turn of the loop again and again until its tasks have ended. Among free choices that is
    a loop which need never end, so here it is asked again when something else asks for a turn,
    or when the loop has nothing to do.
    """
    global _numbers
    _numbers = itertools.count(1)
    loop: Any = asyncio.get_running_loop()
    loop.set_task_factory(_task)
    soon, wait = loop.call_soon, loop._wait
    again: list[tuple[Callable[..., object], Any, Context | None]] = []
    fresh = True

    def deliver() -> None:
        while again:
            late, its_args, its_context = again.pop()
            soon(late, *its_args, context=its_context)

    @_unwatched
    def call_soon(
        callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        nonlocal fresh
        if getattr(callback, "__name__", "") == "_deliver_cancellation":
            again.append((callback, args, context))
            return asyncio.Handle(callback, args, loop, context)
        fresh = True
        deliver()
        return soon(callback, *args, context=context)

    @_unwatched
    def wait_or_deliver() -> None:
        nonlocal fresh
        if not (again and fresh):
            wait()
            fresh = True
            return
        fresh = False
        deliver()

    loop._wait = wait_or_deliver
    loop.call_soon = call_soon
    with _numbered_scopes():
        await loop.create_task(body())


@contextlib.contextmanager
def _numbered_scopes() -> Iterator[None]:
    real = backend.CancelScope
    backend.CancelScope = _NumberedScope  # type: ignore[misc]
    try:
        yield
    finally:
        backend.CancelScope = real  # type: ignore[misc]


def _task(loop: asyncio.AbstractEventLoop, coroutine: Any, **kwargs: Any) -> asyncio.Task[Any]:
    return _NumberedTask(coroutine, loop=loop, **kwargs)
