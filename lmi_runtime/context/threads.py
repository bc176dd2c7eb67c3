"""Threads that serve the request of whoever starts them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from lmi_runtime import _sync

__all__ = ["ContextThreadPoolExecutor", "spawn_thread"]

P = ParamSpec("P")
T = TypeVar("T")


def spawn_thread(fn: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> _sync.Thread:
    """
    Start a thread that serves the caller's request, and return it.

    The thread runs in a copy of the calling context: it sees the request and every scoped
    variable, and what it sets is its own. It is a daemon, so it cannot keep a process alive
    that was asked to stop; join it before the handler returns.

    Thread safety: from any thread.
    """
    name = getattr(fn, "__qualname__", type(fn).__qualname__)
    return _sync.spawn(partial(fn, *args, **kwargs), name=name, context=copy_context())


class ContextThreadPoolExecutor(_sync.ThreadPoolExecutor):
    """
    A `concurrent.futures.ThreadPoolExecutor` whose calls serve their submitter's request.

    Every call runs in a copy of the context it was submitted in. Between calls the pool's
    threads serve nobody, so one pool may be shared by all requests of a process.

    Thread safety: from any thread.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule ``fn(*args, **kwargs)`` in a copy of the calling context."""
        call = partial(copy_context().run, fn, *args, **kwargs)
        # In an empty context: where threads inherit their creator's, a thread started here would
        # keep this request for the initializer and callbacks of every later one.
        return Context().run(super().submit, call)
