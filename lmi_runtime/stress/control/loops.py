"""
Event loops that code under control makes for itself: `asyncio.run` in a function or a thread.

They are as controlled as the one that the harness makes for coroutine functions.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

# Before control begins, as the seam would import both in the midst of a run.
import anyio  # noqa: F401

import lmi_runtime._sync.on_asyncio  # noqa: F401
from lmi_runtime.stress.control.active import caller
from lmi_runtime.stress.control.hashes import hash_of
from lmi_runtime.stress.control.loop import ControlledLoop

__all__ = ["replacements", "replacements_in_anyio"]


def replacements() -> Iterator[tuple[Any, str, Any]]:
    """Class or module, name and what stands in there, for as long as control lasts."""
    loop = asyncio.SelectorEventLoop
    yield loop, "__init__", _turning(loop, loop.__init__)
    uvloop = sys.modules.get("uvloop")
    if uvloop is not None:
        yield uvloop, "Loop", _instead_of(uvloop.Loop)


def replacements_in_anyio() -> Iterator[tuple[Any, str, Any]]:
    """The same for anyio, which imports what it needs only when it is needed."""
    backend: Any = importlib.import_module("anyio._backends._asyncio")
    yield backend.CancelScope, "__hash__", hash_of


def _turning(kind: type, real: Callable[..., None]) -> Callable[..., None]:
    """However a loop is asked for (by policy, runner, factory), it begins here."""

    @functools.wraps(real)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        here = caller()
        if here is None:
            real(self, *args, **kwargs)
            return
        if type(self) is not kind:
            run, actor = here
            run.uncontrolled.append(
                f"{actor.name} runs an event loop of its own kind, {type(self).__qualname__}."
            )
            real(self, *args, **kwargs)
            return
        turned: Any = ControlledLoop
        self.__class__ = turned
        turned.__init__(self, *here)

    return __init__


def _instead_of(real: Any) -> Callable[[], Any]:
    def loop() -> Any:
        here = caller()
        return real() if here is None else ControlledLoop(*here)

    return loop
