"""Threads that serve the request of whoever starts them."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import ParamSpec

from lmi_runtime import _sync

__all__ = ["spawn_thread"]

P = ParamSpec("P")


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
