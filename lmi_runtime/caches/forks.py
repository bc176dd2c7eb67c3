"""
Caches in a child process: values stay, loads under way do not.

The child has one thread. Nobody in it runs the loads of its parent, and a lock that another
thread held would stay locked for ever. So every lock is taken before the fork, and the child
makes new ones.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, Final, Protocol

from lmi_runtime import _sync

__all__ = ["Forking", "follow"]

PATIENCE_S: Final = 1.0
"""How long a fork waits for a cache; who is not ready by then is emptied in the child."""


class Forking(Protocol):
    """What has locks that a fork must not find taken."""

    def before_fork(self, patience_s: float) -> bool:
        """Take the lock; False if that took too long."""
        ...

    def after_fork_in_parent(self) -> None:
        """Release the lock."""
        ...

    def after_fork_in_child(self, consistent: bool) -> None:
        """Make a new lock, and forget who waited; `consistent` is False if it was not ready."""
        ...


# By number, not in a set: each change is one atomic operation, and a copy is another.
_followed: dict[int, weakref.ref[Forking]] = {}
_ready = _sync.ThreadLocal()


def follow(cache: Any) -> None:
    """Have `cache` told of forks for as long as it lives. Thread safety: from any thread."""
    number = id(cache)
    _followed[number] = weakref.ref(cache, lambda _: _followed.pop(number, None))


def _before() -> None:
    ready: list[tuple[Forking, bool]] = []
    _ready.caches = ready
    for reference in _followed.copy().values():
        cache = reference()
        if cache is not None:
            ready.append((cache, cache.before_fork(PATIENCE_S)))


def _in_parent() -> None:
    for cache, taken in _ready.__dict__.pop("caches"):
        if taken:
            cache.after_fork_in_parent()


def _in_child() -> None:
    for cache, taken in _ready.__dict__.pop("caches"):
        cache.after_fork_in_child(taken)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
