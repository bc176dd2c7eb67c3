"""Functions to run before the process stops."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from lmi_runtime import _sync

__all__ = ["on_shutdown", "run_shutdown_hooks"]

F = TypeVar("F", bound=Callable[[], Any])

_log = logging.getLogger(__name__)
_lock = _sync.ProcessWide(lambda: _sync.Lock(), anew_in_child=True)
_hooks = _sync.ProcessWide[list[Callable[[], Any]]](list)  # guarded by _lock


def on_shutdown(function: F) -> F:
    """
    Run `function`, sync or async and without arguments, before the process stops.

    The platform leaves about half a second for all hooks of a process together. Hooks run
    latest first, so that what was opened last closes first. Use it as a decorator or call it.

    Thread safety: from any thread, at any time before the process is asked to stop.
    """
    with _lock():
        _hooks().append(function)
    return function


async def run_shutdown_hooks(budget_s: float) -> None:
    """
    Run every hook once, the latest registered first, then forget them.

    Never raises for what a hook does: failures are logged with the hook's name, and the next
    one runs.

    Args:
        budget_s: Seconds for all hooks together. An async hook that is late is cancelled; a
            thread that is late is left behind.

    Thread safety: loop thread only.
    """
    import anyio

    with _lock():
        hooks = _hooks()
        waiting = hooks[::-1]
        hooks.clear()
    with anyio.move_on_after(budget_s) as scope:
        while waiting:
            await _run(waiting[0])
            del waiting[0]
    if scope.cancelled_caught:
        names = ", ".join(map(_name, waiting))
        _log.warning("Shutdown hooks ran out of time after %g s: %s", budget_s, names)


async def _run(hook: Callable[[], Any]) -> None:
    import inspect

    from anyio import to_thread

    try:
        if inspect.iscoroutinefunction(hook):
            await hook()
            return
        # A thread can be left behind when time is up; the loop cannot.
        [result] = await to_thread.run_sync(lambda: [hook()], abandon_on_cancel=True)
        if inspect.isawaitable(result):
            await result
    except (Exception, SystemExit, KeyboardInterrupt):
        _log.exception("The shutdown hook %s failed", _name(hook))


def _name(hook: Callable[[], Any]) -> str:
    return str(getattr(hook, "__qualname__", None) or repr(hook))
