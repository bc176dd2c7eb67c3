"""Stand-ins for functions that have ended already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["raising", "returning"]


def returning(value: Any) -> Callable[..., Any]:
    """A function of anything that returns `value`."""
    return lambda *args, **kwargs: value


def raising(error: BaseException) -> Callable[..., Any]:
    """A function of anything that raises `error`, once."""
    # An error that is left in a frame of its own traceback stays until it is collected, and
    # everything that the function had with it.
    errors = [error]

    def ended(*args: Any, **kwargs: Any) -> Any:
        error = errors.pop()
        try:
            raise error
        finally:
            del error

    return ended
