"""The line between supervisor and worker: every byte stream reads as what was meant."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.model import Failure
from lmi_runtime.supervisor.ledger import SharedLedger
from lmi_runtime.supervisor.link import (
    Garbage,
    InitFailed,
    Message,
    MessageDecoder,
    Order,
    Ready,
    WorkerLink,
    _encode_failure,
)

failures = st.builds(
    Failure,
    error_type=st.text(max_size=20),
    error_class=st.text(max_size=20),
    message=st.text(max_size=200),
    stack=st.lists(st.text(max_size=20), max_size=4).map(tuple),
    xray_cause=st.none() | st.binary(max_size=40),
)
messages = st.just(Ready()) | st.builds(InitFailed, failures)


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, WorkerLink]]:
    """The supervisor's end and the worker's."""
    ours, theirs = socket.socketpair()
    ledger = SharedLedger(1)
    link = WorkerLink(theirs, index=3, slots=2, ledger=ledger)
    yield ours, link
    ours.close()
    link.close()
    ledger.close()


def wire(message: Message) -> bytes:
    match message:
        case Ready():
            return b"ready\n"
        case InitFailed(failure):
            return b"failed " + _encode_failure(failure) + b"\n"
    raise AssertionError(message)


@given(sent=st.lists(messages, max_size=4), data=st.data())
def test_messages_arrive_however_they_are_cut(sent: list[Message], data: st.DataObject) -> None:
    stream = b"".join(map(wire, sent))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=6)))
    decoder = MessageDecoder()

    heard = [
        message
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for message in decoder.feed(stream[begin:end])
    ]

    assert heard == sent


@given(st.binary(max_size=200))
def test_nonsense_is_named_and_never_raises(noise: bytes) -> None:
    heard = list(MessageDecoder().feed(noise + b"\n"))

    assert heard
    assert all(isinstance(it, Garbage | Ready) for it in heard)


@pytest.mark.parametrize("text", [b"{}", b"[]", b"null", b'{"stack": 1}', b"{", b"\xff"])
def test_a_failure_that_cannot_be_read_is_nonsense(text: bytes) -> None:
    (it,) = MessageDecoder().feed(b"failed " + text + b"\n")

    assert isinstance(it, Garbage)


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    decoder = MessageDecoder()
    for _ in range(80):
        assert list(decoder.feed(b"x" * 65536)) == []

    assert len(decoder._rest) <= 4 * 1024 * 1024
    (it,) = decoder.feed(b"\n")
    assert isinstance(it, Garbage)
    assert len(it.text) <= 80
    assert list(decoder.feed(b"ready\n")) == [Ready()]


def test_orders_come_one_by_one_and_the_end_for_ever(
    line: tuple[socket.socket, WorkerLink],
) -> None:
    ours, link = line
    assert link.receive() is None

    ours.send(Order.GO.value + Order.DRAIN.value)
    ours.close()

    assert [link.receive() for _ in range(4)] == [
        Order.GO,
        Order.DRAIN,
        Order.ORPHANED,
        Order.ORPHANED,
    ]


def test_waiting_for_an_order_has_an_end(line: tuple[socket.socket, WorkerLink]) -> None:
    ours, link = line
    assert link.wait_order(timeout_s=0.001) is None

    ours.send(Order.GO.value)

    assert link.wait_order() is Order.GO


def test_an_unknown_order_does_not_take_the_known_ones_along(
    line: tuple[socket.socket, WorkerLink],
) -> None:
    ours, link = line
    ours.send(b"?" + Order.DRAIN.value)

    assert link.receive() is Order.DRAIN


def test_a_worker_says_what_the_supervisor_hears(
    line: tuple[socket.socket, WorkerLink],
) -> None:
    ours, link = line
    failure = Failure("T", "C", "m", ("a", "b"), b'{"x": 1}')

    link.send_ready()
    link.send_init_failed(failure)

    assert list(MessageDecoder().feed(ours.recv(65536))) == [Ready(), InitFailed(failure)]


def test_speaking_to_a_dead_supervisor_is_no_error(
    line: tuple[socket.socket, WorkerLink],
) -> None:
    ours, link = line
    ours.close()

    link.send_ready()

    assert link.receive() is Order.ORPHANED
