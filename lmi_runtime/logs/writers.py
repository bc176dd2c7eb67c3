"""Who writes the lines: a thread of its own, or the caller itself where none may be started."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from lmi_runtime import _sync
from lmi_runtime.logs.sinks import OUT, Sink

__all__ = ["DirectWriter", "ThreadWriter", "Writer"]

MAX_QUEUED_LINES = 10_000
MAX_QUEUED_BYTES = 8 * 1024 * 1024


class Writer(Protocol):
    """Takes encoded lines. Never raises."""

    def put(self, stream: int, data: bytes) -> bool:
        """Take one line; False when it was dropped, which is counted and reported."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Wait until every line taken so far is written; False when that took too long."""
        ...

    def close(self, timeout_s: float) -> bool:
        """Flush, and take no more lines."""
        ...


class ThreadWriter:
    """
    A bounded queue, and one thread that writes what is in it.

    Nobody who logs ever waits for the pipe. When it is blocked the queue fills, then lines are
    dropped and counted; one line says how many as soon as the pipe moves again.

    Args:
        sink: Written to by the thread only.
        report: Makes the line about a number of dropped ones.
        max_lines: Lines the queue holds.
        max_bytes: Bytes the queue holds.

    Thread safety: every method, from any thread, and again from a signal handler or finalizer
    that interrupts one: the lock is re-entrant and never held during I/O.
    """

    def __init__(
        self,
        sink: Sink,
        report: Callable[[int], bytes],
        *,
        max_lines: int = MAX_QUEUED_LINES,
        max_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        self._sink = sink
        self._report = report
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        # Whoever finds the thread idle puts one in. A queue and not a condition, because it keeps
        # what a finalizer puts in just before the thread, which it interrupts, begins to wait.
        self._wakes: _sync.SimpleQueue[None] = _sync.SimpleQueue()
        self._lock = _sync.RLock()  # guards everything below
        self._changed = _sync.Condition(self._lock)  # of _settled
        self._queue: deque[tuple[int, bytes]] = deque()
        self._queued_bytes = 0
        self._dropped = 0
        self._idle = False
        self._closing = False
        self._taken = 0
        self._settled = 0
        self._thread = _sync.spawn(self._run, name="lmi-log-writer")

    def put(self, stream: int, data: bytes) -> bool:
        """Queue one line; False when there is no room for it."""
        size = len(data)
        with self._lock:
            if (
                self._closing
                or len(self._queue) >= self._max_lines
                or self._queued_bytes + size > self._max_bytes
            ):
                self._dropped += 1
                return False
            self._queue.append((stream, data))
            self._queued_bytes += size
            self._taken += 1
            self._wake()
        return True

    def flush(self, timeout_s: float) -> bool:
        """Wait until every line queued so far is written or lost."""
        with self._lock:
            target = self._taken
            return self._changed.wait_for(lambda: self._settled >= target, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Write what is queued and end the thread; False when that took too long."""
        with self._lock:
            self._closing = True
            self._wake()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def dropped(self) -> int:
        """Lines dropped and not reported yet."""
        with self._lock:
            return self._dropped

    def _run(self) -> None:
        while batch := self._wait_batch():
            lost = self._write(batch)
            with self._lock:
                self._settled += len(batch)
                self._dropped += lost
                dropped = 0 if lost else self._dropped
                self._changed.notify_all()
            # Said only now: the write that went through shows that the pipe moves again.
            if dropped and not self._write([(OUT, self._report(dropped))]):
                with self._lock:
                    self._dropped -= dropped

    def _wait_batch(self) -> list[tuple[int, bytes]]:
        """All that is queued; empty when the writer closes."""
        while True:
            with self._lock:
                # The order matters: a finalizer may put a line between any two of these steps.
                self._idle = True
                if self._queue or self._closing:
                    self._idle = False
                    self._queued_bytes = 0
                    batch, self._queue = self._queue, deque()
                    return list(batch)
            self._wakes.get()

    def _wake(self) -> None:
        """Let the thread look again if it waits, or is about to. With the lock held."""
        if self._idle:
            self._idle = False
            self._wakes.put(None)

    def _write(self, batch: list[tuple[int, bytes]]) -> int:
        """Write in as few calls as the sink allows; returns how many lines were lost."""
        lost = 0
        for stream, lines in _bundles(batch, self._sink.batch_bytes):
            try:
                self._sink.write(stream, b"".join(lines))
            except Exception:
                # There is nowhere left to say so. Counted, and reported if it ever recovers.
                lost += len(lines)
        return lost


class DirectWriter:
    """
    Writes in the calling thread, and gives up when there is no room in time.

    For a supervisor, which must neither start a thread nor block, and for the children that
    user code forks: those may leave by `os._exit`, which would lose whatever were queued.

    Args:
        sink: Written to by every caller, one at a time.
        report: Makes the line about a number of dropped ones.
        patience_s: Seconds one line may wait for room.

    Thread safety: every method, from any thread.
    """

    def __init__(
        self, sink: Sink, report: Callable[[int], bytes], *, patience_s: float = 0.0
    ) -> None:
        self._sink = sink
        self._report = report
        self._patience_s = patience_s
        self._lock = _sync.RLock()
        self._dropped = 0  # guarded by _lock

    def put(self, stream: int, data: bytes) -> bool:
        """Write one line; False when there was no room for it in time."""
        with self._lock:
            # After one loss the others do not wait: a child that logs much must not crawl.
            patience_s = 0.0 if self._dropped else self._patience_s
            if not self._write(stream, data, patience_s):
                self._dropped += 1
                return False
            dropped = self._dropped
            if dropped and self._write(OUT, self._report(dropped), 0.0):
                self._dropped = 0
            return True

    def flush(self, timeout_s: float) -> bool:
        """Nothing is ever queued."""
        return True

    def close(self, timeout_s: float) -> bool:
        """Nothing is ever queued."""
        return True

    def _write(self, stream: int, data: bytes, patience_s: float) -> bool:
        try:
            return self._sink.write(stream, data, patience_s=patience_s)
        except Exception:
            return False


def _bundles(batch: list[tuple[int, bytes]], batch_bytes: int) -> list[tuple[int, list[bytes]]]:
    """Group neighbours of the same stream, up to `batch_bytes` a group."""
    bundles: list[tuple[int, list[bytes]]] = []
    size = 0
    for stream, data in batch:
        size += len(data)
        if not bundles or bundles[-1][0] != stream or size > batch_bytes:
            bundles.append((stream, []))
            size = len(data)
        bundles[-1][1].append(data)
    return bundles
