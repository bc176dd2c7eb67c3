"""What opens a resource, and what is left of it to close: the two halves of a generator."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import Context
from typing import Any

from lmi_runtime.pools.once import Rest

__all__ = ["check_opener", "finish_in_task", "first_value", "name_of", "open_by_thread"]

_log = logging.getLogger(__name__)


def check_opener(opener: Any) -> None:
    """Raise TypeError unless it can be called without arguments."""
    import inspect

    if not callable(opener):
        raise TypeError(f"@resource takes a function, not {opener!r}.")
    try:
        parameters = inspect.signature(opener).parameters.values()
    except ValueError:  # some that are written in C do not tell
        return
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in optional]
    if needed:
        raise TypeError(
            f"@resource opens {name_of(opener)} without arguments, but it needs "
            f"{', '.join(needed)}. Methods cannot be resources: use a function of the module."
        )


def name_of(opener: Any) -> str:
    """What logs and errors call the resource."""
    return str(getattr(opener, "__qualname__", None) or repr(opener))


def open_by_thread(opener: Callable[[], Any], context: Context) -> tuple[Any, Rest | None]:
    """
    The value of a plain function or generator, and what is left to do at the end.

    Args:
        opener: What makes the value.
        context: The one that this runs in; what is left runs in it, too.
    """
    import inspect

    made = opener()
    name = name_of(opener)
    if inspect.iscoroutine(made):
        made.close()
        raise TypeError(f"{name} returned a coroutine: make it an `async def`.")
    if not inspect.isgeneratorfunction(opener):
        return made, None
    for value in made:
        return value, lambda: context.run(finish, made, name)
    raise RuntimeError(f"{name} yielded nothing.")


def finish(generator: Any, name: str) -> None:
    """Run what follows the ``yield``; what it raises is logged."""
    try:
        for _ in generator:
            generator.close()
            _log.error("%s yielded more than once", name)
    except Exception:
        _log.exception("Closing %s failed", name)


async def first_value(generator: Any, name: str) -> Any:
    """What an async generator yields. What is left of it is for `finish_in_task`."""
    async for value in generator:
        return value
    raise RuntimeError(f"{name} yielded nothing.")


async def finish_in_task(generator: Any, name: str) -> None:
    """Like `finish`, for an async generator."""
    try:
        async for _ in generator:
            await generator.aclose()
            _log.error("%s yielded more than once", name)
    except Exception:
        _log.exception("Closing %s failed", name)
