"""Threads that others start by themselves, serving the request that they were started in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context
from typing import Any

from lmi_runtime import _sync, context

__all__ = ["Carrier", "carry_requests", "carry_where_no_request_is"]

Carrier = Callable[[], Callable[..., Any] | None]
"""Called where a thread is started: what calls a function with its arguments there, or None."""

_carriers: list[Carrier] = []
"""For where no request is being served; only grows."""

_done: dict[str, object] = {}
"""Whether it has been done; changed by dict.setdefault only."""

_THEIR_OWN_WAYS = frozenset({"anyio", "lmi_runtime", "trio"})
"""Packages whose threads serve many, and enter the context of each."""


def carry_requests() -> None:
    """
    Have plain threads and executors serve the request of whoever starts or submits something.

    `threading.Thread.start` and `concurrent.futures.ThreadPoolExecutor.submit` take a copy of the
    context along, as `asyncio.to_thread` does, wherever a request is being served. Once that
    request has been answered, such a thread serves none: libraries start threads that stay, and
    the first request is not theirs to keep.

    Thread safety: from any thread; later calls do nothing.
    """
    mine = object()
    if _done.setdefault("since", mine) is mine:
        _sync.Thread.start = _carrying_start(_sync.Thread.start)  # type: ignore[method-assign, assignment]
        pool = _sync.ThreadPoolExecutor
        pool.submit = _carrying_submit(pool.submit)  # type: ignore[method-assign]


def carry_where_no_request_is(carrier: Carrier) -> None:
    """
    Have threads that are started outside requests do what they do in what `carrier` gives them.

    Thread safety: from any thread.
    """
    _carriers.append(carrier)


def _carried() -> Callable[..., Any] | None:
    carried = context.carried()
    if carried is not None:
        return carried.run
    return next((run for carrier in _carriers if (run := carrier()) is not None), None)


def _carrying_start(start: Callable[[_sync.Thread], None]) -> Callable[[_sync.Thread], None]:
    @functools.wraps(start)
    def carrying(self: _sync.Thread) -> None:
        has_begun = self.ident is not None  # then this raises, and changes nothing
        carried = None if has_begun or _knows_better(self) else _carried()
        if carried is None:
            start(self)
            return
        run = self.run

        def run_there() -> None:
            del self.run  # it would keep the thread, and the thread it
            carried(run)

        self.run = run_there  # type: ignore[method-assign]
        try:
            start(self)
        except BaseException:
            del self.run  # it never ran: the request is not the thread's to keep
            raise

    return carrying


def _knows_better(thread: _sync.Thread) -> bool:
    if getattr(thread, "_context", None) is not None:
        return True  # since 3.14 a thread can be given one
    for thing in (type(thread), getattr(thread, "_target", None)):
        package = str(getattr(thing, "__module__", "")).partition(".")[0]
        if package in _THEIR_OWN_WAYS:
            return True
    return False


def _carrying_submit(submit: Callable[..., Future[Any]]) -> Callable[..., Future[Any]]:
    @functools.wraps(submit)
    def carrying(
        self: _sync.ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        carried = _carried()
        if carried is None:
            return submit(self, fn, *args, **kwargs)
        # In an empty context: a thread that is started here stays for the calls of others.
        return Context().run(submit, self, functools.partial(carried, fn, *args, **kwargs))

    return carrying
