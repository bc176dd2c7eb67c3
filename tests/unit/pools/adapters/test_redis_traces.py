"""What is known of a Redis connection after some commands, without a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from lmi_runtime.pools.adapters.redis_traces import Traced, Traces


def after(*commands: tuple[object, ...]) -> Traces:
    traces = Traces()
    for words in commands:
        traces.note(words)
    return traces


@pytest.mark.parametrize(
    ("commands", "unended"),
    [
        ([("GET", "a"), ("SET", "multi", "watch")], ""),
        ([("MULTI",)], "MULTI"),
        ([("multi",)], "MULTI"),
        ([(b"MULTI",)], "MULTI"),
        ([("WATCH", "a")], "WATCH"),
        ([("WATCH", "a"), ("UNWATCH",)], ""),
        ([("WATCH", "a"), ("MULTI",)], "MULTI"),
        ([("MULTI",), ("UNWATCH",)], "MULTI"),  # queued: the transaction is still open
        ([("MULTI",), ("WATCH", "a")], "MULTI"),  # refused by the server
        ([("WATCH", "a"), ("MULTI",), ("EXEC",)], ""),
        ([("MULTI",), ("DISCARD",)], ""),
    ],
)
def test_what_was_begun_is_known_until_it_ends(
    commands: list[tuple[object, ...]], unended: str
) -> None:
    traces = after(*commands)

    assert traces.unended == unended
    assert not traces.changed


@pytest.mark.parametrize(
    "words",
    [
        ("SELECT", 3),
        ("select", 3),
        ("AUTH", "x"),
        ("SUBSCRIBE", "x"),
        ("MONITOR",),
        ("CLIENT SETNAME", "x"),
        ("CLIENT", "SETNAME", "x"),
        ("CLIENT", b"reply", "off"),
    ],
)
def test_what_lasts_is_never_forgotten_by_later_commands(words: tuple[object, ...]) -> None:
    traces = after(words, ("GET", "a"), ("CLIENT ID",), ("UNWATCH",))

    assert traces.changed


@pytest.mark.parametrize("words", [("CLIENT ID",), ("CLIENT", "LIST"), ("SELECTED",), ("",)])
def test_questions_change_nothing(words: tuple[object, ...]) -> None:
    assert not after(words).changed


class Wire:
    is_connected = True

    def send_command(self, *words: Any, **options: Any) -> None: ...

    def pack_commands(self, commands: Any) -> list[Any]:
        return list(commands)


class Connection(Traced, Wire):
    pass


class Lease:
    def __init__(self) -> None:
        self.discarded = False

    def discard(self) -> None:
        self.discarded = True


class Reply(Exception):
    pass


@contextmanager
def ending(connection: Connection, lease: Lease) -> Iterator[None]:
    try:
        yield
    finally:
        assert connection.returned((Reply,)) is lease


def given_back_during(error: BaseException) -> bool:
    """Whether its connection is closed when a lease ends on the way out of `error`."""
    connection, lease = Connection(), Lease()
    connection.lent(lease)
    with suppress(type(error)), ending(connection, lease):
        raise error
    return lease.discarded


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), TimeoutError()])
def test_an_error_that_may_leave_a_reply_unread_ends_the_connection(error: BaseException) -> None:
    assert given_back_during(error)


def test_an_error_that_is_a_reply_does_not() -> None:
    assert not given_back_during(Reply())


def test_an_error_from_before_the_lease_does_not() -> None:
    connection, lease = Connection(), Lease()
    try:
        int("no number")
    except ValueError:
        connection.lent(lease)
        assert connection.returned((Reply,)) is lease

    assert not lease.discarded


def test_a_lease_ends_once() -> None:
    connection, lease = Connection(), Lease()
    connection.lent(lease)

    assert connection.returned(()) is lease
    assert connection.returned(()) is None


def test_commands_are_noted_one_by_one_and_in_bulk() -> None:
    connection = Connection()
    packed = connection.pack_commands(words for words in [("WATCH", "a"), ("GET", "a")])

    assert packed == [("WATCH", "a"), ("GET", "a")]
    assert connection.traces.unended == "WATCH"
    connection.send_command("SELECT", 3)
    assert not connection.usable()


def test_a_connection_that_was_closed_is_not_usable() -> None:
    connection = Connection()
    assert connection.usable()
    connection.is_connected = False

    assert not connection.usable()
