"""Pools of threads, each call of which serves the request of whoever submits it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from lmi_runtime import _sync

__all__ = ["ContextThreadPoolExecutor"]

P = ParamSpec("P")
T = TypeVar("T")


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
