"""
Puts the controlled primitives in place of the standard library's, everywhere.

``from threading import Lock`` binds a name at import, in any module. So the loaded modules are
searched for the real objects, as libraries that freeze time do. Modules imported while control
lasts find the replacements by themselves.
"""

from __future__ import annotations

import concurrent.futures.thread
import contextlib
import itertools
import logging
import queue
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from lmi_runtime._sync import process_wide
from lmi_runtime.stress.control import (
    clocks,
    determinism,
    frames,
    loops,
    tasksync,
    threads,
    trio_host,
)
from lmi_runtime.stress.control.active import caller, own
from lmi_runtime.stress.control.actors import Unwind
from lmi_runtime.stress.control.forks import watch_forks
from lmi_runtime.stress.control.locks import ControlledLock, ControlledRLock, allocate_lock
from lmi_runtime.stress.control.outside import forget_outsiders
from lmi_runtime.stress.control.raw import RawLock, RawRLock, RawRLockType

__all__ = ["controlled", "is_controlled"]

_depth = 0  # exploring thread only

_OWN = __name__.rpartition(".")[0]
# Modules that must keep the real thing: the harness itself, and what has to tell real time.
_KEPT = (_OWN, "_thread", "_pytest", "pytest", "hypothesis", "pytest_timeout", "xdist", "execnet")

_GLOBALS: dict[str, Any] = {
    "Lock": ControlledLock if sys.version_info >= (3, 13) else allocate_lock,
    "_allocate_lock": allocate_lock,
    "RLock": ControlledRLock,
    threads.STARTER: threads.start_new_thread,
}


def is_controlled() -> bool:
    """Whether the primitives are in place."""
    return _depth > 0


@contextlib.contextmanager
def controlled() -> Iterator[None]:
    """
    Keep the primitives in place for as long as the block lasts.

    Threads that are in no run keep seeing ordinary locks and the real time. May be nested.

    Thread safety: exploring thread only.
    """
    global _depth, _in_place
    if _depth:
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1
        return
    undo = _in_place = _Undo()
    try:
        forget_outsiders()
        watch_forks()
        _install(undo)
        _depth = 1
        yield
    finally:
        _depth = 0
        undo.all()


def replace_late() -> None:
    """
    Take over what has been imported since control began; between runs.

    Thread safety: exploring thread only.
    """
    if not _in_place.has_trio and trio_host.inside() is not None:
        _replace_trio(_in_place)
    if not _in_place.has_anyio and "anyio" in sys.modules:
        _in_place.has_anyio = True
        for target, name, value in loops.replacements_in_anyio():
            _in_place.replace(target, name, value)


def _replace_trio(undo: _Undo) -> None:
    undo.has_trio = True
    for target, name, value in trio_host.replacements():
        undo.replace(target, name, value)


_NOTHING = object()


class _Undo:
    """What was there before, newest last."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []
        self.has_anyio = False
        self.has_trio = False

    def replace(self, target: Any, name: str, value: Any) -> None:
        self._before.append((target, name, getattr(target, name, _NOTHING)))
        setattr(target, name, value)

    def all(self) -> None:
        for target, name, value in reversed(self._before):
            if value is _NOTHING:
                delattr(target, name)
            else:
                setattr(target, name, value)


_in_place = _Undo()  # exploring thread only


def _install(undo: _Undo) -> None:
    if trio_host.inside() is not None:
        _replace_trio(undo)
    standing_in: dict[int, Any] = {
        id(threading.Lock): _GLOBALS["Lock"],  # a class of its own from 3.13 on
        id(RawLock): allocate_lock,
        id(RawRLock): ControlledRLock,
        id(RawRLockType): ControlledRLock,
        id(queue.SimpleQueue): queue._PySimpleQueue,  # type: ignore[attr-defined]
    }
    standing_in |= {id(real): fake for real, fake in clocks.REPLACEMENTS.items()}
    standing_in |= {id(real): fake for real, fake in determinism.REPLACEMENTS.items()}
    standing_in |= {id(real): fake for real, fake in frames.REPLACEMENTS.items()}
    originals = {*standing_in}
    for name, value in _GLOBALS.items():
        undo.replace(threading, name, value)
    undo.replace(threading.Thread, "join", threads.join)
    undo.replace(threading.Thread, "is_alive", threads.is_alive)
    undo.replace(threading.Thread, "__hash__", threads.hash_of)
    undo.replace(threading, "excepthook", _excepthook(threading.excepthook))
    undo.replace(concurrent.futures.thread, "_global_shutdown_lock", ControlledLock())
    undo.replace(process_wide, "_made_for_run", own)
    _replace_logging_locks(undo)
    for target, name, value in itertools.chain(loops.replacements(), tasksync.replacements()):
        undo.replace(target, name, value)
    loaded: list[object] = list(sys.modules.values())  # anything may be put there
    for module in loaded:
        if not isinstance(module, ModuleType) or module.__name__.startswith(_KEPT):
            continue
        for name, value in list(vars(module).items()):
            if id(value) in originals and name not in _UNTOUCHED.get(module.__name__, ()):
                undo.replace(module, name, standing_in[id(value)])


# What the interpreter's own machinery must keep.
_UNTOUCHED: dict[str, tuple[str, ...]] = {
    "queue": ("_PySimpleQueue",),
    "threading": ("_CRLock",),
}


def _replace_logging_locks(undo: _Undo) -> None:
    """Logging made its locks when it was imported; a formatter may be preempted inside them."""
    undo.replace(logging, "_lock", ControlledRLock())
    for reference in list(logging._handlerList):  # type: ignore[attr-defined]
        handler = reference()
        if handler is not None and handler.lock is not None:
            undo.replace(handler, "lock", ControlledRLock())


def _excepthook(before: Any) -> Any:
    def hook(args: Any) -> None:
        here = caller()
        if args.exc_type is Unwind:
            return
        if here is None:
            before(args)
            return
        run, actor = here
        run.thread_errors.append((actor, args.exc_value))

    return hook
