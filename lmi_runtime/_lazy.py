"""Exports that are imported by whoever asks for them first: a cold start pays for what it uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazily"]


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
