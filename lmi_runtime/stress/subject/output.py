"""What invocations write: standard output and error, and through them log lines and metrics."""

from __future__ import annotations

import io
import logging
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["Output", "captured"]


class Output:
    """
    Lines by the invocation that wrote them.

    Thread safety: written to by whichever actor runs; read and cleared between runs.
    """

    def __init__(self, who: Callable[[], int | None], swallows: Callable[[], bool]) -> None:
        """
        Args:
            who: The invocation that is writing; None for nobody's.
            swallows: Whether the caller is under control or imports for a run, so that what it
                writes must not reach the terminal.
        """
        self._who = who
        self._swallows = swallows
        self._texts: dict[int | None, list[str]] = defaultdict(list)

    def clear(self) -> None:
        """Forget everything; before a run."""
        self._texts.clear()

    def of(self, invocation: int) -> str:
        """All that an invocation wrote."""
        return "".join(self._texts.get(invocation, ()))

    def take(self, text: str) -> bool:
        """Keep a text if it was written in a run; False if it is somebody else's."""
        if not self._swallows():
            return False
        self._texts[self._who()].append(text)
        return True


class _Stream(io.TextIOBase):
    """Stands in for a standard stream. Thread safety: that of `Output`."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, output: Output, real: TextIO) -> None:
        self._output = output
        self._real = real

    def write(self, text: str) -> int:
        if not self._output.take(text):
            self._real.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if not self._output._swallows():
            self._real.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return not self._output._swallows() and self._real.isatty()

    def fileno(self) -> int:
        return self._real.fileno()

    def close(self) -> None:
        """Never: it is the process's."""

    @property
    def buffer(self) -> _Bytes:
        """For those who write bytes."""
        return _Bytes(self)


class _Bytes(io.RawIOBase):
    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._stream.write(bytes(data).decode("utf-8", "replace"))
        return len(data)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        self._stream.flush()


@contextmanager
def captured(output: Output) -> Iterator[None]:
    """
    Send standard output, standard error and the root logger's records to `output`.

    The root logger has one handler meanwhile, as it has in Lambda.

    Thread safety: the thread that explores.
    """
    streams = sys.stdout, sys.stderr
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    sys.stdout, sys.stderr = _Stream(output, streams[0]), _Stream(output, streams[1])
    ours = logging.StreamHandler(sys.stdout)
    ours.setFormatter(logging.Formatter("[%(levelname)s]\t%(message)s"))
    root.handlers[:] = [ours]
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        sys.stdout, sys.stderr = streams
