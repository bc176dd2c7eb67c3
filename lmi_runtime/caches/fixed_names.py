"""
A warning for files of one name that requests write at the same time.

Code that was right with one request a process writes ``/tmp/input.pdf`` and reads it back. With
many requests at once it reads what another one wrote, and nothing ever fails.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.context import Request, peek

__all__ = ["taking_care", "watch_fixed_names"]

logger = logging.getLogger(__name__)

_writers: dict[str, Request] = {}
"""Who, of the requests in flight, wrote a path last. Changed by single operations of dict only."""

_warned: dict[str, object] = {}
"""What was warned about already: paths. Changed by single operations of dict only."""

_ENOUGH_WARNINGS = 100
_here = _sync.ThreadLocal()

_prefixes: tuple[str, ...] = ()  # both are set once, before the hook is there
_own_prefixes: tuple[str, ...] = ()
_watching: dict[str, object] = {}
"""Whether the hook is there; changed by dict.setdefault only."""


def watch_fixed_names() -> None:
    """
    Warn, once for each, of paths under ``/tmp`` that requests in flight together open to write.

    Called by the runtime where a process serves many requests at once. It adds an audit hook to
    the interpreter, which cannot be removed and costs about 0.2 us for each audited event. Files
    that `locked_file` opens, and those below a `request_tmpdir`, are nothing to warn about.

    Thread safety: from any thread; later calls do nothing.
    """
    global _own_prefixes, _prefixes
    mine = object()
    if _watching.setdefault("since", mine) is mine:
        folders = {"/tmp", "/var/tmp", str(_sync.temporary_directory())}
        _prefixes = tuple(sorted(f"{folder.rstrip('/')}/" for folder in folders))
        # As `private_directory` names what this package keeps: locks keep its files apart.
        _own_prefixes = tuple(f"{prefix}lmi{mark}" for prefix in _prefixes for mark in "-_")
        sys.addaudithook(_on_event)


@contextmanager
def taking_care() -> Iterator[None]:
    """What this thread opens in the block is meant to be written by several requests."""
    _here.careful = True
    try:
        yield
    finally:
        _here.careful = False


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open":
        return
    path, _, flags = arguments
    # What a hook raises is raised by whatever was audited: nothing here may.
    if flags.__class__ is not int or not flags & (os.O_WRONLY | os.O_RDWR):
        return
    if path.__class__ is str and path.startswith(_prefixes):
        _on_write(path)


def _is_known(path: str) -> bool:
    """Whether nothing more is to be said about it; also what several requests may write."""
    careful = getattr(_here, "careful", False)
    enough = path in _warned or len(_warned) >= _ENOUGH_WARNINGS
    return careful or enough or path.startswith(_own_prefixes)


def _on_write(path: str) -> None:
    request = peek()
    if request is None or request.ended or _is_known(path):
        return
    before = _writers.get(path)
    if before is request:
        return
    _writers[path] = request
    request.at_end(lambda: _forget(path, request))
    if before is not None and not before.ended:
        _warn(path)


def _forget(path: str, request: Request) -> None:
    # Else the last request's event would be kept for as long as nobody writes that file.
    if _writers.get(path) is request:
        _writers.pop(path, None)


def _warn(path: str) -> None:
    mine = object()
    if _warned.setdefault(path, mine) is mine:
        logger.warning(
            "Two requests that are served at the same time write %s. Give each its own: "
            "lmi_runtime.request_tmpdir(); or let one at a time: lmi_runtime.locked_file().",
            path,
        )


# No request of the parent is served in a child, or ends there.
os.register_at_fork(after_in_child=_writers.clear)
