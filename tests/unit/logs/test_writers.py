"""A blocked pipe costs lines, counted; it never costs anybody's time."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from types import FrameType

import pytest

from lmi_runtime.logs.sinks import StreamSink
from lmi_runtime.logs.writers import DirectWriter, ThreadWriter
from tests.support.patience import PATIENCE_S

from .conftest import MemorySink, fill


class GateSink(MemorySink):
    """Blocks in every write until the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.gate = threading.Event()

    def write(self, stream: int, data: bytes, *, patience_s: float | None = None) -> bool:
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
        return super().write(stream, data)


def report(dropped: int) -> bytes:
    return b"dropped %d\n" % dropped


def test_lines_come_out_in_order_and_in_few_writes() -> None:
    sink = GateSink()
    writer = ThreadWriter(sink, report)

    writer.put(0, b"first\n")
    assert sink.entered.wait(PATIENCE_S)
    for n in range(100):
        writer.put(0, b"%d\n" % n)
    sink.gate.set()

    assert writer.flush(PATIENCE_S)
    assert sink.lines() == [b"first", *(b"%d" % n for n in range(100))]
    assert len(sink.writes) == 2
    assert writer.close(PATIENCE_S)


def test_the_streams_keep_their_order_among_each_other() -> None:
    sink = GateSink()
    writer = ThreadWriter(sink, report)
    for n, stream in enumerate([0, 0, 1, 0, 1, 1]):
        writer.put(stream, b"%d" % n)
    sink.gate.set()

    assert writer.close(PATIENCE_S)
    assert b"".join(data for _, data in sink.writes) == b"012345"
    assert b"".join(data for stream, data in sink.writes if stream) == b"245"


def test_a_batch_stays_within_what_the_sink_keeps_together() -> None:
    sink = GateSink()
    sink.batch_bytes = 10
    writer = ThreadWriter(sink, report)
    writer.put(0, b"first\n")
    assert sink.entered.wait(PATIENCE_S)
    for size in (4, 4, 4, 30, 4):
        writer.put(0, b"x" * size)
    sink.gate.set()

    assert writer.close(PATIENCE_S)
    assert [len(data) for _, data in sink.writes] == [6, 8, 4, 30, 4]


@pytest.mark.parametrize("bounds", [{"max_lines": 3}, {"max_bytes": 6}])
def test_lines_over_the_bound_are_dropped_counted_and_reported_once(
    bounds: dict[str, int],
) -> None:
    sink = GateSink()
    writer = ThreadWriter(sink, report, **bounds)
    writer.put(0, b"0\n")
    assert sink.entered.wait(PATIENCE_S)

    taken = [writer.put(0, b"%d\n" % n) for n in range(1, 9)]

    assert taken == [True] * 3 + [False] * 5
    assert writer.dropped == 5
    assert not writer.flush(0)
    sink.gate.set()
    assert writer.close(PATIENCE_S)
    assert sink.lines() == [b"0", b"dropped 5", b"1", b"2", b"3"]
    assert writer.dropped == 0


def test_a_real_pipe_that_nobody_reads_blocks_nobody(pipe: tuple[int, int]) -> None:
    """Every line is either read or part of the count that is reported."""
    read_fd, write_fd = pipe
    filled = fill(write_fd)
    writer = ThreadWriter(StreamSink(write_fd, write_fd), report, max_lines=100)

    taken = [n for n in range(2_000) if writer.put(0, b"%d\n" % n)]

    assert len(taken) < 2_000
    assert not writer.flush(0)
    out = b""
    while b"dropped" not in out or not out.endswith(b"\n"):
        out += os.read(read_fd, 65_536)
    assert writer.close(PATIENCE_S)
    os.set_blocking(read_fd, False)
    with contextlib.suppress(BlockingIOError):
        out += os.read(read_fd, 65_536)
    lines = out[filled:].decode().splitlines()
    dropped = [line for line in lines if "dropped" in line]
    assert [int(line) for line in lines if line not in dropped] == taken
    assert sum(int(line.split()[1]) for line in dropped) == 2_000 - len(taken)


def test_a_broken_sink_loses_lines_but_not_the_thread() -> None:
    class Broken(MemorySink):
        broken = True

        def write(self, stream: int, data: bytes, *, patience_s: float | None = None) -> bool:
            if self.broken:
                raise BrokenPipeError
            return super().write(stream, data)

    sink = Broken()
    writer = ThreadWriter(sink, report)
    writer.put(0, b"lost\n")
    assert writer.flush(PATIENCE_S)
    sink.broken = False
    writer.put(0, b"kept\n")

    assert writer.close(PATIENCE_S)
    assert sink.lines() == [b"kept", b"dropped 1"]


def test_close_gives_up_on_a_blocked_pipe_in_time() -> None:
    sink = GateSink()
    writer = ThreadWriter(sink, report)
    writer.put(0, b"x\n")
    assert sink.entered.wait(PATIENCE_S)

    assert not writer.close(0)
    assert not writer.put(0, b"late\n")

    sink.gate.set()
    assert writer.close(PATIENCE_S)


def test_a_finalizer_may_log_while_the_queue_is_locked() -> None:
    """The garbage collector may run user code at any point of `put`, in the same thread."""
    sink = MemorySink()
    writer = ThreadWriter(sink, report)

    class Size(bytes):
        def __len__(self) -> int:
            return 1

    with writer._lock:
        writer.put(0, Size(b"inner\n"))

    assert writer.close(PATIENCE_S)
    assert sink.lines() == [b"inner"]


def test_without_room_a_direct_writer_drops_at_once_and_reports_later(
    pipe: tuple[int, int],
) -> None:
    read_fd, write_fd = pipe
    filled = fill(write_fd)
    writer = DirectWriter(StreamSink(write_fd, write_fd), report)

    assert [writer.put(0, b"lost\n") for _ in range(3)] == [False] * 3
    while filled:
        filled -= len(os.read(read_fd, min(filled, 65_536)))
    assert writer.put(0, b"kept\n")

    assert os.read(read_fd, 100) == b"kept\ndropped 3\n"
    assert writer.flush(0)
    assert writer.close(0)


def test_after_one_loss_a_direct_writer_has_no_patience_left() -> None:
    class Full(MemorySink):
        def write(self, stream: int, data: bytes, *, patience_s: float | None = None) -> bool:
            self.writes.append((0, json.dumps(patience_s).encode()))
            return False

    sink = Full()
    writer = DirectWriter(sink, report, patience_s=1.0)
    writer.put(0, b"a")
    writer.put(0, b"b")

    assert [data for _, data in sink.writes] == [b"1.0", b"0.0"]


@pytest.mark.parametrize("strikes_at", range(1, 40))
def test_a_finalizer_may_log_wherever_it_interrupts_the_writers_own_thread(
    strikes_at: int,
) -> None:
    """Also between its decision to wait and the wait itself: the line is written all the same."""
    struck = threading.Event()
    left = strikes_at
    running: ThreadWriter | None = None

    def trace(frame: FrameType, *_: object) -> object:
        nonlocal left, running
        if frame.f_code is ThreadWriter._run.__code__:
            running = frame.f_locals["self"]
        if running is None:
            return None  # not our code yet
        left -= 1
        if left == 0:
            running.put(0, b"from the finalizer\n")
            struck.set()
        return trace

    sink = MemorySink()
    threading.settrace(trace)  # type: ignore[arg-type]
    try:
        writer = ThreadWriter(sink, report)
    finally:
        threading.settrace(None)  # type: ignore[arg-type]
    while not struck.wait(0.001):
        writer.put(0, b"line\n")

    assert writer.flush(PATIENCE_S)
    assert b"from the finalizer" in sink.lines()
    assert writer.close(PATIENCE_S)
