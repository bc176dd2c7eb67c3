"""What a process has one of, such as the lock of a module."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

__all__ = ["ProcessWide"]

T = TypeVar("T")

_made_for_run: Callable[[], dict[ProcessWide[Any], Any] | None] | None = None
"""Put here by a controlled scheduler: what its run has made so far, or None for who is in none."""


class ProcessWide(Generic[T]):
    """
    Something that all code of a process shares: call it to get it.

    It is made when it is first asked for. So is one for each run under control: what an import
    made before would be none that a scheduler can see, and what one run leaves behind would decide
    how the next goes.

    Thread safety: from any thread.
    """

    def __init__(self, make: Callable[[], T], *, anew_in_child: bool = False) -> None:
        """
        Args:
            make: Called without arguments. If two threads ask first at once it is called twice,
                and both get what one of the calls made. For a lock it is ``lambda: Lock()``: what
                the name stands for by then, which under control is another.
            anew_in_child: A forked child begins with another one. For locks, as whoever held it
                is not there; what holds things says itself what becomes of them.
        """
        self._make = make
        self._made: dict[ProcessWide[Any], T] = {}  # changed in atomic steps
        if anew_in_child:
            _anew_in_child.add(self)

    def __call__(self) -> T:
        """The one there is."""
        made = None if _made_for_run is None else _made_for_run()
        if made is None:
            made = self._made
        try:
            return made[self]
        except KeyError:
            return made.setdefault(self, self._make())

    def begin_anew(self) -> None:
        """Forget it. In a child, before any other thread is there."""
        self._made.clear()


_anew_in_child: WeakSet[ProcessWide[Any]] = WeakSet()


def _begin_anew_in_child() -> None:
    for each in list(_anew_in_child):
        each.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_in_child)
