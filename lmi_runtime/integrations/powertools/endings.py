"""Stand-ins for functions that have ended already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["raising", "returning"]


def returning(value: Any) -> Callable[..., Any]:
    """A function of anything that returns `value`."""
    return lambda *args, **kwargs: value


def raising(error: BaseException) -> Callable[..., Any]:
    """A function of anything that raises `error`."""

    def ended(*args: Any, **kwargs: Any) -> Any:
        raise error

    return ended
