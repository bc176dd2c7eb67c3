"""The way of a log line: pieces to lines, lines to a queue, the queue to a descriptor."""

from __future__ import annotations

import logging
import sys
from contextvars import Context
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.context import Request, enter
from lmi_runtime.logs.formats import Printed
from lmi_runtime.logs.sinks import OUT
from lmi_runtime.logs.streams import LineBuffer
from lmi_runtime.logs.writers import DirectWriter, ThreadWriter
from lmi_runtime.model import Invocation
from stress.scenarios.scenario import Scenario, State

__all__ = [
    "direct_writer",
    "flush_of_the_writer",
    "full_queue",
    "late_piece_of_a_line",
    "lines_of_two_requests",
]

_WATCHED = ("lmi_runtime.logs",)


class Sink:
    """Keeps what is written."""

    batch_bytes = 8

    def __init__(self) -> None:
        self.written = b""
        self.busy = False

    def encode(self, line: bytes, level: int) -> bytes:
        """See the port."""
        return line + b"\n"

    def write(self, stream: int, data: bytes, *, patience_s: float | None = None) -> bool:
        """See the port; complains when two threads write at a time."""
        assert not self.busy, "two threads write at once"
        self.busy = True
        _sync.sleep(0.001)
        self.written += data
        self.busy = False
        return True

    @property
    def lines(self) -> list[bytes]:
        """In the order in which they were written."""
        return self.written.split()


def _context(request: Request) -> Context:
    context = Context()
    context.run(enter, request)
    return context


def _dropped(count: int) -> bytes:
    return b"dropped-%d\n" % count


def lines_of_two_requests() -> Scenario:
    """`print` in two requests and in a thread of one: lines are whole and say whose they are."""

    class Lines(list[tuple[bytes, str]]):
        def append_line(self, line: Printed, request: Request | None) -> None:
            self.append((line.text, request.request_id if request else ""))

    def setup() -> State:
        state = State()
        state.lines = Lines()
        state.requests = [Request(Invocation(name)) for name in ("a", "b")]
        state.buffer = LineBuffer(
            sys.stdout,
            "stdout",
            logging.INFO,
            state.lines.append_line,
        )
        return state

    def prints(index: int) -> Any:
        def participant(state: State) -> None:
            request = state.requests[index]
            context = _context(request)
            for piece in (b"%d", b"-x", b"\n", b"%d-rest"):
                data = piece % index if b"%d" in piece else piece
                context.run(state.buffer.write, data)
            request.end()
            state.buffer.finish(request)

        return participant

    def whole(state: State) -> None:
        expected = [(b"0-rest", "a"), (b"0-x", "a"), (b"1-rest", "b"), (b"1-x", "b")]
        assert sorted(state.lines) == expected, state.lines

    return Scenario(setup, (prints(0), prints(1)), whole, _WATCHED)


def late_piece_of_a_line() -> Scenario:
    """A thread writes as its request ends: the piece is neither lost nor kept for ever."""

    def setup() -> State:
        state = State()
        state.lines = []
        state.request = Request(Invocation("a"))
        state.context = _context(state.request)
        state.buffer = LineBuffer(
            sys.stdout,
            "stdout",
            logging.INFO,
            lambda line, request: state.lines.append((line.text, request)),
        )
        return state

    def writes(state: State) -> None:
        state.context.run(state.buffer.write, b"late")

    def ends(state: State) -> None:
        state.request.end()
        state.buffer.finish(state.request)

    def written(state: State) -> None:
        assert state.lines == [(b"late", state.request)], state.lines
        assert not state.buffer._assembler._partial, "the request is kept"

    return Scenario(setup, (writes, ends), written, _WATCHED)


def flush_of_the_writer() -> Scenario:
    """What was put before a flush is written after it; close writes the rest; nothing twice."""

    def setup() -> State:
        state = State()
        state.sink = Sink()
        return state

    def life(state: State) -> None:
        writer = ThreadWriter(state.sink, _dropped)
        other = _sync.spawn(lambda: [writer.put(OUT, b"b%d\n" % n) for n in range(2)], name="other")
        assert writer.put(OUT, b"a0\n")
        assert writer.flush(100.0), "the flush took too long"
        assert b"a0" in state.sink.lines, "flushed, and not written"
        other.join()
        assert writer.close(100.0), "the writer does not end"

    def everything(state: State) -> None:
        lines = state.sink.lines
        assert sorted(lines) == [b"a0", b"b0", b"b1"], lines
        assert lines.index(b"b0") < lines.index(b"b1"), lines

    return Scenario(setup, (life,), everything, _WATCHED)


def full_queue() -> Scenario:
    """A queue without room drops, counts and says so: each line is written or accounted for."""

    def setup() -> State:
        state = State()
        state.sink = Sink()
        state.refused = _sync.Counter()
        return state

    def life(state: State) -> None:
        writer = state.writer = ThreadWriter(state.sink, _dropped, max_lines=1)

        def puts() -> None:
            for _ in range(2):
                if not writer.put(OUT, b"x\n"):
                    state.refused.add()

        other = _sync.spawn(puts, name="other")
        puts()
        other.join()
        assert writer.close(100.0), "the writer does not end"

    def accounted(state: State) -> None:
        lines = state.sink.lines
        reported = sum(int(line[8:]) for line in lines if line.startswith(b"dropped"))
        assert lines.count(b"x") + state.refused.value == 4, lines
        assert reported + state.writer.dropped == state.refused.value, lines

    return Scenario(setup, (life,), accounted, _WATCHED)


def direct_writer() -> Scenario:
    """Without a thread, callers write by themselves, one at a time."""

    def setup() -> State:
        state = State()
        state.sink = Sink()
        state.writer = DirectWriter(state.sink, _dropped)
        return state

    def puts(state: State) -> None:
        assert state.writer.put(OUT, b"x\n")
        assert state.writer.put(OUT, b"y\n")

    def everything(state: State) -> None:
        assert sorted(state.sink.lines) == [b"x", b"x", b"y", b"y"], state.sink.lines

    return Scenario(setup, (puts, puts), everything, _WATCHED)
