"""
The same order in sets in every run.

Event loops keep tasks and cancel scopes in sets, by identity: whom they cancel first would depend
on where things happen to lie in memory.
"""

from __future__ import annotations

import itertools
from typing import Any

from lmi_runtime.stress.control.active import caller, scheduler

__all__ = ["Ordered", "hash_of"]


def hash_of(thing: Any) -> int:
    """
    Stands in for `__hash__`: the first that is hashed in a run has the lowest.

    Thread safety: by the holder of the baton; everybody else gets the usual hash.
    """
    if caller() is None:
        return object.__hash__(thing)
    return _known.number_of(thing)


class _Known:
    """Thread safety: by the holder of the baton."""

    def __init__(self) -> None:
        self._run: Any = None
        self._numbers: dict[int, tuple[int, Any]] = {}
        self._next = itertools.count()

    def number_of(self, thing: Any) -> int:
        run = scheduler()
        if run is not self._run:
            self._run = run
            self._numbers = {}
            self._next = itertools.count()
        known = self._numbers.get(id(thing))
        if known is None:  # with the thing itself, so that its identity is not used again
            known = self._numbers[id(thing)] = (next(self._next), thing)
        return known[0]


_known = _Known()


class Ordered(dict[Any, None]):
    """
    A set that is iterated in the order of addition, in place of a `WeakSet`.

    Thread safety: as a dict; lives as long as one loop.
    """

    def add(self, item: Any) -> None:
        """See `set.add`."""
        self[item] = None

    def discard(self, item: Any) -> None:
        """See `set.discard`."""
        self.pop(item, None)
