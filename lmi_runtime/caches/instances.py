"""Results of methods: each instance's apart, for as long as it lives."""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from typing import Any

__all__ = ["Identity", "Instances"]


class Identity:
    """
    Stands in a key for an instance, and does not keep it alive.

    Equal to itself only: instances that are equal may still differ in what a method uses.
    """

    __slots__ = ("reference", "tag")

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.reference: weakref.ref[Any]


class Instances:
    """
    The instances of one method that are alive, each with its stand-in.

    Thread safety: from any thread; each change of the dictionary is one atomic operation. An
    instance may die anywhere, even under a lock, so its death is only noted.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._numbers = itertools.count()
        self._known: dict[int, Identity] = {}
        self._dead: deque[Identity] = deque()

    def of(self, instance: Any) -> Any:
        """What stands for `instance`: itself if it cannot be referred to weakly."""
        known = self._known.get(id(instance))
        return self._meet(instance) if known is None else known

    def tags(self, instance: Any) -> tuple[str, ...]:
        """By what the results of `instance` are found when it has died."""
        known = self._known.get(id(instance))
        return () if known is None else (known.tag,)

    def forget_dead(self, cache: Any) -> None:
        """Drop what is kept for instances that have died."""
        while self._dead:
            try:
                identity = self._dead.popleft()
            except IndexError:  # another thread did
                return
            cache.invalidate(tag=identity.tag)

    def _meet(self, instance: Any) -> Any:
        number = id(instance)
        identity = Identity(f"{self._name}@{next(self._numbers)}")

        def died(_: object) -> None:
            # Nothing else can have this number before this has returned.
            self._known.pop(number, None)
            self._dead.append(identity)

        try:
            identity.reference = weakref.ref(instance, died)
        except TypeError:
            return instance
        return self._known.setdefault(number, identity)
