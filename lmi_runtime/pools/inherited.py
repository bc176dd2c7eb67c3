"""What a child process got at a fork and must not finalize: its parent goes on using it."""

from __future__ import annotations

import atexit
import contextlib

__all__ = ["leave_to_parent"]

_kept: list[object] = []  # only ever added to, in one atomic step


def leave_to_parent(thing: object) -> None:
    """
    Keep `thing` until this process ends, and do not finalize it even then.

    A generator that is dropped runs its ``finally``, and a driver's connection may say goodbye:
    both would end the parent's session over the socket that the child shares with it.

    Thread safety: from any thread, and from what runs after a fork.
    """
    _kept.append(thing)


def _outlive_the_interpreter() -> None:
    """Modules are emptied when the interpreter ends; one reference too many keeps the list."""
    if not _kept:
        return
    with contextlib.suppress(ImportError):  # ctypes is an optional part of Python
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_kept))


atexit.register(_outlive_the_interpreter)
