"""Threads that start in a context somebody chose."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Context

__all__ = [
    "ContextThread",
    "Thread",
    "ThreadExceptHookArgs",
    "current_thread_id",
    "is_main_thread",
    "spawn",
    "swap_thread_excepthook",
    "thread_count",
]

Thread = threading.Thread
current_thread_id = threading.get_ident
thread_count = threading.active_count
ThreadExceptHookArgs = threading.ExceptHookArgs


def is_main_thread() -> bool:
    """Whether the caller runs in the thread that the interpreter started in."""
    return threading.get_ident() == threading.main_thread().ident


class ContextThread(Thread):
    """
    A thread that runs in a given context and remembers it.

    An exception that ends the thread is reported after the context has been left; `context`
    says whose request it was.
    """

    def __init__(
        self, context: Context, target: Callable[[], object], *, name: str, daemon: bool
    ) -> None:
        super().__init__(target=context.run, args=(target,), name=name, daemon=daemon)
        self.context = context


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
    thread = ContextThread(chosen, target, name=name, daemon=daemon)
    thread.start()
    return thread


def swap_thread_excepthook(
    hook: Callable[[ThreadExceptHookArgs], object],
) -> Callable[[ThreadExceptHookArgs], object]:
    """
    Replace what is called for exceptions that end a thread, and return what was called before.

    Thread safety: main thread only.
    """
    before = threading.excepthook
    threading.excepthook = hook
    return before
