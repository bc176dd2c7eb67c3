"""Streamed responses: buffered by the environment, ended by trailers when they fail."""

from __future__ import annotations

import base64

import pytest

from tests.contract.wire.client import Connection, Delivery, Wire, post_path

STREAM_HEAD = {
    "Content-Type": "text/event-stream",
    "Lambda-Runtime-Function-Response-Mode": "streaming",
    "Transfer-Encoding": "chunked",
    "Trailer": "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
}
DETAILS = b'{"errorMessage":"half way"}'


def stream(wire: Wire, delivery: Delivery, *parts: bytes) -> Connection:
    """Send a streamed response whose chunks are *parts*, without its end."""
    connection = wire.connect()
    head = {**STREAM_HEAD, "Lambda-Runtime-Invocation-Id": delivery.invocation_id}
    connection.send("POST", post_path("response", delivery.request_id), headers=head)
    for part in parts:
        connection.send_raw(b"%x\r\n%b\r\n" % (len(part), part))
    return connection


def end_with_trailers(connection: Connection, **trailers: str) -> None:
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in trailers.items()]
    connection.send_raw(b"0\r\n" + "".join(lines).encode() + b"\r\n")


def test_stream_reaches_the_caller_whole(wire: Wire) -> None:
    delivery = wire.deliver()
    connection = stream(wire, delivery, b"one,", b"two,", b"three")

    assert connection.send_raw(b"0\r\n\r\n").expect().status == 202
    answer = delivery.caller.expect()

    assert (answer.status, answer.body) == (200, b"one,two,three")
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["lambda-runtime-function-response-mode"] == "streaming"


def test_connection_of_a_stream_can_be_used_again(wire: Wire) -> None:
    connection = stream(wire, wire.deliver(), b"x")
    connection.send_raw(b"0\r\n\r\n").expect()

    assert connection.send("GET", "/2018-06-01/ping").expect().body == b"pong"


def test_error_in_the_trailers_replaces_what_was_streamed(wire: Wire) -> None:
    delivery = wire.deliver()
    connection = stream(wire, delivery, b"partial")
    end_with_trailers(
        connection,
        Lambda_Runtime_Function_Error_Type="Function.Broke",
        Lambda_Runtime_Function_Error_Body=base64.b64encode(DETAILS).decode(),
    )

    assert connection.expect().status == 202
    answer = delivery.caller.expect()
    assert (answer.status, answer.error_type, answer.body) == (200, "Function.Broke", DETAILS)


@pytest.mark.parametrize(
    ("posted", "shown"), [("Oops", "Runtime.Unknown"), ("Function.x", "Function.Unknown")]
)
def test_error_type_in_the_trailers_is_filtered(wire: Wire, posted: str, shown: str) -> None:
    delivery = wire.deliver()
    connection = stream(wire, delivery, b"partial")
    end_with_trailers(connection, Lambda_Runtime_Function_Error_Type=posted)

    assert connection.expect().status == 202
    assert delivery.caller.expect().error_type == shown


def test_details_that_are_not_base64_are_dropped(wire: Wire) -> None:
    delivery = wire.deliver()
    connection = stream(wire, delivery, b"partial")
    end_with_trailers(
        connection,
        Lambda_Runtime_Function_Error_Type="Function.Broke",
        Lambda_Runtime_Function_Error_Body="*not base64*",
    )

    assert connection.expect().status == 202
    answer = delivery.caller.expect()
    assert (answer.error_type, answer.body) == ("Function.Broke", b"")


@pytest.mark.parametrize(
    ("trailers_bytes", "status", "shown"),
    [(4096, 202, "Function.Broke"), (4097, 400, "Runtime.TruncatedResponse")],
)
def test_trailers_have_to_fit_into_4096_bytes(
    wire: Wire, trailers_bytes: int, status: int, shown: str
) -> None:
    delivery = wire.deliver()
    connection = stream(wire, delivery, b"partial")
    lines = (
        b"Lambda-Runtime-Function-Error-Type: Function.Broke\r\n"
        b"Lambda-Runtime-Function-Error-Body: %b\r\n\r\n"
    )
    connection.send_raw(b"0\r\n" + lines % (b"x" * (trailers_bytes - len(lines % b""))))

    assert connection.expect().status == status
    assert delivery.caller.expect().error_type == shown


def test_stream_has_the_size_limit_of_a_buffered_response(wire: Wire) -> None:
    delivery = wire.deliver()
    connection = stream(wire, delivery, *[b"z" * 1_000_000] * 6, b"z" * 291_557)
    connection.send_raw(b"0\r\n\r\n")

    assert connection.expect().status == 413
    assert delivery.caller.expect().error_type == "Function.ResponseSizeTooLarge"


def test_many_streams_at_once_do_not_mix(wire: Wire) -> None:
    polls = [wire.poll() for _ in range(4)]
    deliveries = [wire.deliver_to(poll) for poll in polls]
    streams = [stream(wire, d, b"%d" % n) for n, d in enumerate(deliveries)]
    for n, connection in reversed(list(enumerate(streams))):
        connection.send_raw(b"1\r\n%d\r\n0\r\n\r\n" % n)

    assert [connection.expect().status for connection in streams] == [202] * 4
    assert [d.caller.expect().body for d in deliveries] == [b"00", b"11", b"22", b"33"]
