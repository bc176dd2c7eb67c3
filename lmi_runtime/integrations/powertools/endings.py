"""Functions that are awaited, and stand-ins for such that have ended already."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.integrations.calls import is_async

__all__ = ["is_awaited_here", "raising", "returning"]


def is_awaited_here(function: Callable[..., Any]) -> bool:
    """
    Whether what it returns to the calling code has to be awaited.

    Without a loop that is not known of a decorated one: it may run its coroutine by itself.
    """
    if inspect.iscoroutinefunction(function):
        return True
    return _sync.current_home() is not None and is_async(function)


def returning(value: Any) -> Callable[..., Any]:
    """A function of anything that returns `value`."""
    return lambda *args, **kwargs: value


def raising(error: BaseException) -> Callable[..., Any]:
    """A function of anything that raises `error`."""

    def ended(*args: Any, **kwargs: Any) -> Any:
        raise error

    return ended
