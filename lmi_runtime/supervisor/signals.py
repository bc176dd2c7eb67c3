"""Signals as bytes on a socket, so that one `select` waits for everything."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

__all__ = ["SignalSource", "SignalWakeup"]

_STOP = (signal.SIGTERM, signal.SIGINT)
_WATCHED = (*_STOP, signal.SIGCHLD)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """
    Do nothing, but be a handler.

    Unlike ``SIG_IGN`` it lets the signal reach the wake-up descriptor, and unlike ``SIG_IGN`` it
    is not passed on to the programs a handler starts, which could otherwise not be terminated.
    """


class SignalSource(Protocol):
    """Where the supervisor learns of signals."""

    @property
    def reader(self) -> socket.socket:
        """Readable when a signal has arrived."""
        ...

    def take(self) -> frozenset[int]:
        """The signals that arrived since the last call."""
        ...

    def restore(self) -> None:
        """Put back what was there before, and close."""
        ...

    def leave_to_child(self) -> None:
        """Undo this in a process that was just forked."""
        ...


class SignalWakeup:
    """
    Collects SIGTERM, SIGINT and SIGCHLD.

    Thread safety: main thread only, as everything about signals in Python.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._before = {number: signal.signal(number, _ignore) for number in _WATCHED}
        # A full buffer means that a wake-up is pending already; nothing to warn about.
        self._fd_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    @property
    def reader(self) -> socket.socket:
        """Readable when a signal has arrived."""
        return self._reader

    def take(self) -> frozenset[int]:
        """The signals that arrived since the last call."""
        arrived: set[int] = set()
        with contextlib.suppress(BlockingIOError):
            while data := self._reader.recv(4096):
                arrived.update(data)
        return frozenset(arrived)

    def restore(self) -> None:
        """Put back what was there before, and close."""
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._close()

    def leave_to_child(self) -> None:
        """
        Undo this in a process that was just forked.

        The platform signals the whole process group, but a worker stops when the supervisor says
        so: the default actions would end it in the middle of an invocation. Handlers that the
        user's module installed while it was imported are put back.
        """
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, _for_child(number, handler))
        self._close()

    def _close(self) -> None:
        self._reader.close()
        self._writer.close()


def _for_child(number: int, before: Callable[..., Any] | int | None) -> Callable[..., Any] | int:
    if number == signal.SIGCHLD:
        return signal.SIG_DFL if before is None else before
    custom = callable(before) and before is not signal.default_int_handler
    # Not callable means a default action, ignored, or set from C.
    return before if custom and before is not None else _ignore
