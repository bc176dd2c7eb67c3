"""Threads that start in a context somebody chose."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context

__all__ = ["Thread", "ThreadPoolExecutor", "current_thread_id", "spawn", "thread_count"]

Thread = threading.Thread
current_thread_id = threading.get_ident
thread_count = threading.active_count


def spawn(
    target: Callable[[], object],
    *,
    name: str,
    context: Context | None = None,
    daemon: bool = True,
) -> Thread:
    """
    Start a thread and return it.

    Args:
        target: Called without arguments.
        name: What debuggers and the watchdog show.
        context: Context the thread runs in; an empty one by default. It is given explicitly
            because free-threaded builds let a new thread inherit its creator's context, and
            with it the identity of whatever request happened to start it.
        daemon: False keeps the process alive until the thread ends.
    """
    chosen = Context() if context is None else context
    thread = threading.Thread(target=chosen.run, args=(target,), name=name, daemon=daemon)
    thread.start()
    return thread
