"""Where lines go: standard output and error, or the platform's framed log pipe."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import select
import socket
import tempfile
from collections.abc import Callable, Iterator
from typing import Protocol

from lmi_runtime import _sync

__all__ = ["ERR", "OUT", "FramedSink", "Sink", "StreamSink", "Turn", "redirect", "write_fd"]

OUT = 0
ERR = 1

ATOMIC_BYTES = 4096
"""What one write to a pipe delivers in one piece, in bytes (PIPE_BUF on Linux)."""

CONNECT_TIMEOUT_S = 2.0


class Sink(Protocol):
    """Takes finished lines. `write` is called by one thread at a time."""

    batch_bytes: int
    """How many bytes of whole lines one `write` may carry; a longer line comes alone."""

    def encode(self, line: bytes, level: int) -> bytes:
        """Add what separates lines; called by whoever logs."""
        ...

    def write(self, stream: int, data: bytes, *, patience_s: float | None = None) -> bool:
        """
        Write `data` to `OUT` or `ERR`.

        Args:
            stream: `OUT` or `ERR`.
            data: Whole lines.
            patience_s: Seconds to wait for room before giving up; None waits for ever.

        Returns:
            Whether all of it was written.

        Raises:
            OSError: Nobody reads any more, or the descriptor is closed.
        """
        ...


class Turn:
    """
    One writer at a time, across processes that share a pipe.

    A pipe takes up to 4096 bytes in one piece; a longer line that meets a full pipe is written
    in parts, and a line of another process may end up between them. Made before the fork, this
    lets the processes take turns. It rests on a record lock, which the kernel drops when its
    owner dies.

    Thread safety: one thread per process.
    """

    def __init__(self) -> None:
        with tempfile.TemporaryFile() as file:
            self._fd = os.dup(file.fileno())

    def __del__(self, _close: Callable[[int], None] = os.close) -> None:
        _close(self._fd)

    def __enter__(self) -> None:
        # A file system without locks must not cost us the logs.
        with contextlib.suppress(OSError):
            fcntl.lockf(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            fcntl.lockf(self._fd, fcntl.LOCK_UN)


class StreamSink:
    """
    Newline-delimited text on two descriptors.

    Args:
        out_fd: Standard output.
        err_fd: Standard error.
        turn: Shared by all processes that write to the same pipe.
        exclusive: No other process writes to these descriptors.
    """

    def __init__(
        self,
        out_fd: int = 1,
        err_fd: int = 2,
        *,
        turn: Turn | None = None,
        exclusive: bool = False,
    ) -> None:
        self._fds = (out_fd, err_fd)
        self._turn = turn
        # By stream, whether a line was given up halfway. Guarded as `write` is.
        self._unfinished = [False, False]
        # Without a turn to take, stay within what a shared pipe keeps together.
        self.batch_bytes = 65_536 if exclusive or turn else ATOMIC_BYTES

    def encode(self, line: bytes, level: int) -> bytes:
        """Add the newline."""
        return line + b"\n"

    def write(self, stream: int, data: bytes, *, patience_s: float | None = None) -> bool:
        """See `Sink.write`. Whoever has no patience does not wait for its turn either."""
        if self._unfinished[stream]:
            data = b"\n" + data  # it must not take this line down with it
        written = self._write(self._fds[stream], data, patience_s)
        if written:
            self._unfinished[stream] = written < len(data)
        return written == len(data)

    def _write(self, fd: int, data: bytes, patience_s: float | None) -> int:
        if self._turn is None or patience_s is not None:
            return write_fd(fd, data, patience_s=patience_s)
        with self._turn:
            return write_fd(fd, data)


class FramedSink:
    """
    The classic platform's log pipe: every line in a frame with its level and time.

    A frame is type (4 bytes), length (4), microseconds since the epoch (8), text; big endian.
    """

    batch_bytes = ATOMIC_BYTES

    def __init__(self, fd: int, *, json: bool) -> None:
        self._fd = fd
        self._base = 0xA55A0002 if json else 0xA55A0003

    def encode(self, line: bytes, level: int) -> bytes:
        """Build one frame."""
        kind = 0 if level < logging.DEBUG else min(level, logging.CRITICAL) // 10 * 4 + 4
        micros = int(_sync.wall_time() * 1_000_000)
        head = (self._base + kind).to_bytes(4, "big") + len(line).to_bytes(4, "big")
        return head + micros.to_bytes(8, "big") + line

    def write(self, stream: int, data: bytes, *, patience_s: float | None = None) -> bool:
        """See `Sink.write`; both streams share the one pipe."""
        return write_fd(self._fd, data, patience_s=patience_s) == len(data)


def write_fd(fd: int, data: bytes, *, patience_s: float | None = None) -> int:
    """
    Write all of `data`, or as much as there is room for in time; return how many bytes.

    With `patience_s` it never blocks for longer than that without getting on: it writes only
    as much as `poll` promises there is room for, and stops when there is none in time.

    Raises:
        OSError: Nobody reads any more, or the descriptor is closed.
    """
    view = memoryview(data)
    while view:
        if patience_s is not None and not _wait_writable(fd, patience_s):
            break
        try:
            written = os.write(fd, view if patience_s is None else view[:ATOMIC_BYTES])
        except BlockingIOError:
            # Somebody who shares the descriptor made it non-blocking.
            if not _wait_writable(fd, patience_s):
                break
        else:
            view = view[written:]
    return len(data) - len(view)


def redirect(path: str, fds: tuple[int, ...] = (1, 2)) -> None:
    """
    Connect every descriptor in `fds` to the log socket at `path`, each by a connection of
    its own: nothing another process writes can end up between this one's lines.

    Raises:
        OSError: No connection; the descriptors are as they were.
    """
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(_connected(path)) for _ in fds]
        for connection, fd in zip(connections, fds, strict=True):
            os.dup2(connection.fileno(), fd)


@contextlib.contextmanager
def _connected(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONNECT_TIMEOUT_S)
        connection.connect(path)
        # dup2 shares the flag: standard output has to block again.
        connection.setblocking(True)
        yield connection


def _wait_writable(fd: int, patience_s: float | None) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    events = poll.poll(None if patience_s is None else patience_s * 1000)
    if events and events[0][1] & select.POLLNVAL:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return bool(events)
