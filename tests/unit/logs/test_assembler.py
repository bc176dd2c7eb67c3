"""Pieces of lines from many requests become each request's own lines."""

from __future__ import annotations

import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.context import Request
from lmi_runtime.logs.assembler import MAX_PARTIAL_LINES, LineAssembler
from lmi_runtime.logs.cutting import MAX_LINE_BYTES
from lmi_runtime.model import Invocation
from tests.support.patience import PATIENCE_S


def request(name: str) -> Request:
    return Request(Invocation(request_id=name))


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.text(st.sampled_from("ab\n"), max_size=4)), max_size=50
    )
)
def test_interleaved_pieces_become_whole_lines_in_order(pieces: list[tuple[int, str]]) -> None:
    """
    Three requests and code outside any request take turns within one thread.

    Each one's lines are exactly what it would have written alone; nothing is lost or mixed.
    """
    owners = [None, *(request(str(n)) for n in range(3))]
    assembler, lines = LineAssembler(), [[], [], [], []]

    for owner, text in pieces:
        lines[owner] += assembler.feed(owners[owner], text.encode())
    for number in (1, 2, 3):
        lines[number] += assembler.finish(owners[number])
    rest = assembler.drain()

    lines[0] += [line for _, line in rest]
    assert [owner for owner, _ in rest] in ([], [None])
    for number in range(4):
        alone = "".join(text for owner, text in pieces if owner == number)
        assert b"\n".join(lines[number]).decode() == alone.removesuffix("\n")


def test_threads_of_one_request_do_not_mix_either() -> None:
    assembler, one = LineAssembler(), request("r")
    assembler.feed(one, b"main ")
    others: list[bytes] = []

    def write() -> None:
        assembler.feed(one, b"thread ")
        others.extend(assembler.feed(one, b"line\n"))
        assembler.feed(one, b"left over")

    thread = threading.Thread(target=write)
    thread.start()
    thread.join(PATIENCE_S)

    assert others == [b"thread line"]
    assert assembler.feed(one, b"line\n") == [b"main line"]
    assert assembler.finish(one) == [b"left over"]
    assert assembler.finish(one) == []


def test_a_line_without_end_is_not_kept_for_ever() -> None:
    assembler = LineAssembler()
    owner = request("a")

    assert not any(assembler.feed(owner, b"\r" + b"#" * 1_000) for _ in range(100))

    (line,) = assembler.finish(owner)
    assert len(line) == MAX_LINE_BYTES + 1  # one more than fits, so that it is seen to be cut


def test_work_that_outlives_its_request_has_its_pieces_written_at_once() -> None:
    """Kept, they would keep the request and its event for ever."""
    assembler = LineAssembler()
    owner = request("a")
    owner.end()

    assert assembler.feed(owner, b".") == [b"."]
    assert assembler.finish(owner) == []


def test_an_over_long_line_and_its_newline_are_one_line() -> None:
    """`print` writes the two separately."""
    assembler = LineAssembler()

    assert assembler.feed(None, b"x" * 70_000) == []
    assert [line[:1] for line in assembler.feed(None, b"\n")] == [b"x"]


def test_unfinished_lines_are_bounded_and_the_oldest_leave_first() -> None:
    assembler = LineAssembler()
    owners = [request(str(n)) for n in range(MAX_PARTIAL_LINES + 1)]
    for owner in owners:
        assert not assembler.crowded
        assembler.feed(owner, b"x")

    assert assembler.crowded
    assert [owner for owner, _ in assembler.drain(keep=MAX_PARTIAL_LINES - 1)] == owners[:2]
    assert not assembler.crowded


def test_a_piece_written_just_as_its_request_ends_is_not_kept() -> None:
    """The request ends, and its lines are finished, just as the writing thread has looked."""
    assembler = LineAssembler()

    class EndsAsItIsAsked:
        finished: list[bytes] | None = None

        @property
        def ended(self) -> bool:
            if self.finished is not None:
                return True
            self.finished = assembler.finish(ends)
            return False

    ends: Any = EndsAsItIsAsked()

    lines = assembler.feed(ends, b"late")

    assert [*lines, *ends.finished] == [b"late"]
    assert assembler.drain() == []
