"""
Imports by whoever needs them first: a cold start pays for what it uses.

What a package exports is imported when it is asked for (`lazily`). Larger modules are imported in
the functions that use them. What requests need is imported `ahead`, where the thing that they
use is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["ON_LOOPS", "ahead", "lazily"]

ON_LOOPS = ("anyio", "lmi_runtime._sync.on_asyncio")
"""What things for tasks need, and not in the first request: that would keep its loop."""


def lazily(namespace: dict[str, Any], rooms: Mapping[str, str]) -> Callable[[str], Any]:
    """
    A package's `__getattr__`.

    Args:
        namespace: The package's `globals()`.
        rooms: For each name the module below the package that has it.

    Thread safety: from any thread; imports have locks of their own.
    """
    package = namespace["__name__"]

    def get(name: str) -> Any:
        room = rooms.get(name)
        if room is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        thing = namespace[name] = getattr(import_module(f"{package}.{room}"), name)
        return thing

    return get


def ahead(*names: str) -> None:
    """
    Import modules that threads will need: in a constructor, say.

    A child that is forked while another thread imports a module waits for that for ever, should
    it need the module itself.
    """
    for name in names:
        import_module(name)
