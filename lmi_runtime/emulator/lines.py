"""Log lines of a runtime: split, kept, handed on; and the ways in which reading them can stop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# AWS's emulator gives up on a stream at the first line this long.
RIE_LINE_LIMIT_BYTES = 64 * 1024
_LONGEST_LINE_BYTES = 1024 * 1024
_READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogLine:
    """
    One line a runtime wrote.

    Attributes:
        source: `stdout`, `stderr`, or `telemetry-1`, `telemetry-2` … in order of connection.
        text: The line without its end; undecodable bytes are replaced.
    """

    source: str
    text: str


class LineSplitter:
    """
    Cuts a stream of bytes into lines; one that does not end is cut after a mebibyte.

    Thread safety: one thread at a time.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Lines completed by *data*."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        yield from lines
        while len(self._rest) >= _LONGEST_LINE_BYTES:
            yield self._rest[:_LONGEST_LINE_BYTES]
            self._rest = self._rest[_LONGEST_LINE_BYTES:]

    def close(self) -> Iterator[bytes]:
        """What was left without a line end."""
        if self._rest:
            yield self._rest
            self._rest = b""

    @property
    def unfinished_bytes(self) -> int:
        """Length of the line that has not ended yet."""
        return len(self._rest)


class LineLog:
    """
    Collects the lines of all streams of one runtime.

    Thread safety: loop thread only.
    """

    def __init__(
        self,
        *,
        on_line: Callable[[LogLine], None] | None = None,
        keep: int = 10_000,
        rie_line_limit: bool = False,
    ) -> None:
        """
        Args:
            on_line: Called with every line, on the loop.
            keep: Lines remembered; the oldest go first.
            rie_line_limit: Stop reading a stream for ever at a line of 65,536 bytes or more.
        """
        self._lines: deque[LogLine] = deque(maxlen=keep)
        self._on_line = on_line
        self._rie_line_limit = rie_line_limit
        self._reading = asyncio.Event()
        self._reading.set()

    @property
    def lines(self) -> tuple[LogLine, ...]:
        """Lines so far, oldest first."""
        return tuple(self._lines)

    @property
    def reading(self) -> bool:
        """False between `stop_reading` and `resume_reading`."""
        return self._reading.is_set()

    def stop_reading(self) -> None:
        """Read no more: the pipes fill up, and writers block or drop."""
        self._reading.clear()

    def resume_reading(self) -> None:
        """Read again."""
        self._reading.set()

    async def follow(self, stream: asyncio.StreamReader, source: str) -> None:
        """Read *stream* to its end."""
        splitter = LineSplitter()
        while True:
            await self._reading.wait()
            data = await stream.read(_READ_BYTES)
            if not data:
                break
            for line in splitter.feed(data):
                if self._is_fatal(len(line)):
                    return
                self._keep(source, line)
            if self._is_fatal(splitter.unfinished_bytes):
                return
        for line in splitter.close():
            self._keep(source, line)

    def _is_fatal(self, length_bytes: int) -> bool:
        return self._rie_line_limit and length_bytes >= RIE_LINE_LIMIT_BYTES

    def _keep(self, source: str, line: bytes) -> None:
        entry = LogLine(source, line.decode("utf-8", "replace"))
        self._lines.append(entry)
        if self._on_line is not None:
            self._on_line(entry)
