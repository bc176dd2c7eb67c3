"""Log lines of a process that must never wait for anybody."""

from __future__ import annotations

import logging

from lmi_runtime.logs.cutting import cut_bytes
from lmi_runtime.logs.formats import Format, JsonFormat, TextFormat
from lmi_runtime.logs.sinks import ATOMIC_BYTES, write_fd

__all__ = ["SupervisorLog"]


class SupervisorLog:
    """
    Writes a line when there is room for it right now, and counts it when there is not.

    The supervisor restarts and answers for workers; a blocked log pipe must not stop that.
    Lines have at most 4096 bytes, which a pipe takes in one piece or not at all.

    Args:
        fd: The descriptor written to.
        json: Whether lines are JSON objects.

    Thread safety: main thread only. Starts no thread, takes no lock.
    """

    def __init__(self, fd: int = 1, *, json: bool = True) -> None:
        self._fd = fd
        self._format: Format = JsonFormat() if json else TextFormat()
        self.dropped = 0
        """Lines dropped since the last one that was written (main thread only)."""

    def write(self, level: int, message: str, **fields: object) -> bool:
        """Write one line; False when it had to be dropped. Never raises, never blocks."""
        if self.dropped:
            fields["dropped"] = self.dropped
        line = self._format.notice(level, message, fields, limit_bytes=ATOMIC_BYTES - 1)
        return self.emergency(line)

    def info(self, message: str, **fields: object) -> bool:
        """`write` at level INFO."""
        return self.write(logging.INFO, message, **fields)

    def warning(self, message: str, **fields: object) -> bool:
        """`write` at level WARNING."""
        return self.write(logging.WARNING, message, **fields)

    def error(self, message: str, **fields: object) -> bool:
        """`write` at level ERROR."""
        return self.write(logging.ERROR, message, **fields)

    def emergency(self, line: bytes) -> bool:
        """Write a line that is already made; False when it had to be dropped."""
        whole = cut_bytes(line, limit_bytes=ATOMIC_BYTES - 1) + b"\n"
        try:
            written = write_fd(self._fd, whole, patience_s=0.0) == len(whole)
        except OSError:
            written = False
        self.dropped = 0 if written else self.dropped + 1
        return written
