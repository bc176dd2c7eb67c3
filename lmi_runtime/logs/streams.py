"""What `sys.stdout` and `sys.stderr` are while the logs are installed."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TextIO

from lmi_runtime.context import Request, peek
from lmi_runtime.logs.assembler import MAX_PARTIAL_LINES, LineAssembler
from lmi_runtime.logs.formats import Printed

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["Emit", "LineBuffer", "LineStream"]

Emit = Callable[[Printed, Request | None], object]

_STREAM_HANDLER = logging.StreamHandler.emit.__code__


class LineBuffer(io.BufferedIOBase):
    """
    The binary side: bytes in, whole lines out to `emit`, each with its request.

    Thread safety: every method, from any thread.
    """

    def __init__(self, original: TextIO, logger: str, level: int, emit: Emit) -> None:
        self._original = original
        self._logger = logger
        self._level = level
        self._emit = emit
        self._assembler = LineAssembler()
        self.name = getattr(original, "name", f"<{logger}>")
        self.mode = "wb"
        self.raw = self

    def write(self, data: ReadableBuffer, /) -> int:
        """Take bytes; emits the lines that they complete."""
        octets = bytes(data)
        request = peek()
        self._emit_lines(request, self._assembler.feed(request, octets))
        if self._assembler.crowded:
            for owner, rest in self._assembler.drain(MAX_PARTIAL_LINES // 2):
                self._emit_lines(owner, [rest])
        return len(octets)

    def finish(self, request: Request) -> None:
        """Emit what is left of the lines of `request`."""
        self._emit_lines(request, self._assembler.finish(request))

    def finish_all(self) -> None:
        """Emit what is left of every line."""
        for request, rest in self._assembler.drain():
            self._emit_lines(request, [rest])

    def forget(self) -> None:
        """Drop unfinished lines: after a fork they are the parent's to finish."""
        self._assembler = LineAssembler()

    def fileno(self) -> int:
        """The descriptor itself, for child processes and `faulthandler`."""
        return self._original.fileno()

    def isatty(self) -> bool:
        """What the stream in our place would say."""
        return self._original.isatty()

    def writable(self) -> bool:
        """Always."""
        return True

    def flush(self) -> None:
        """Nothing: whole lines are on their way already, and nobody waits for the pipe."""

    def close(self) -> None:
        """Nothing: standard streams stay open as long as the process."""

    def _emit_lines(self, request: Request | None, lines: Iterable[bytes]) -> None:
        for line in lines:
            self._emit(Printed(line, self._logger, self._level), request)


class LineStream(io.TextIOBase):
    """
    The text side, in place of `sys.stdout` or `sys.stderr`.

    Thread safety: every method, from any thread.
    """

    def __init__(self, original: TextIO, logger: str, level: int, emit: Emit) -> None:
        self.original = original
        self.buffer = LineBuffer(original, logger, level, emit)
        self._emit = emit
        self.name = self.buffer.name
        self.mode = "w"
        self.line_buffering = True
        self.write_through = True

    # Fixed, whatever the original says: lines are UTF-8, and no character makes print() fail.
    encoding = "utf-8"
    errors = "backslashreplace"

    def write(self, text: str, /) -> int:
        """Take text; emits the lines that it completes."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        # A StreamHandler of the user's own writes one whole record. Its frame still holds the
        # record: without it every line that such a handler writes to stderr would be an ERROR.
        caller = sys._getframe(1)
        if caller.f_code is _STREAM_HANDLER:
            self._write_record(text, caller.f_locals["record"])
        else:
            self.buffer.write(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def fileno(self) -> int:
        """The descriptor itself, for child processes and `faulthandler`."""
        return self.original.fileno()

    def isatty(self) -> bool:
        """What the stream in our place would say."""
        return self.original.isatty()

    def writable(self) -> bool:
        """Always."""
        return True

    def flush(self) -> None:
        """Nothing: whole lines are on their way already, and nobody waits for the pipe."""

    def close(self) -> None:
        """Nothing: standard streams stay open as long as the process."""

    def reconfigure(self, **_: Any) -> None:
        """Nothing: encoding and line ends are fixed."""

    def _write_record(self, text: str, record: logging.LogRecord) -> None:
        octets = text.removesuffix("\n").encode("utf-8", "backslashreplace")
        self._emit(Printed(octets, record.name, record.levelno), peek())
