"""POST response and POST error: what is accepted, what ends the invocation, what is refused."""

from __future__ import annotations

import pytest

from tests.contract.wire.client import Connection, Delivery, Wire, post_path
from tests.contract.wire.environments import Start

MAX_RESPONSE_BYTES = 6_291_556
MAX_ERROR_BYTES = 1_048_576
OTHER_ID = "00000000-0000-4000-8000-000000000000"
OK = b'{"status":"OK"}\n'


def refusal(message: str, error_type: str) -> bytes:
    return f'{{"errorMessage":"{message}","errorType":"{error_type}"}}\n'.encode()


INVALID_ID = refusal("Invalid request ID", "InvalidRequestID")
TIMEOUT = refusal("Invoke timeout", "InvokeTimeout")


def begin_upload(wire: Wire, request_id: str, **headers: str) -> Connection:
    """Send the head of a response and one byte of its body, and let the server read them."""
    head = {"Content-Length": "3", **{k.replace("_", "-"): v for k, v in headers.items()}}
    upload = wire.connect().send("POST", post_path("response", request_id), b"1", headers=head)
    wire.settle()
    return upload


# ------------------------------------------------------------------------ accepted


def test_response_is_accepted_and_reaches_the_caller(wire: Wire) -> None:
    delivery = wire.deliver()

    accepted = wire.post(
        "response",
        delivery.request_id,
        b'{"ok":true}',
        invocation_id=delivery.invocation_id,
        headers={"Content-Type": "application/json"},
    )
    answer = delivery.caller.expect()

    assert (accepted.status, accepted.body) == (202, OK)
    assert accepted.headers["content-type"] == "application/json"
    assert (answer.status, answer.body) == (200, b'{"ok":true}')
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["lambda-runtime-function-response-mode"] == "buffered"
    assert "error-type" not in answer.headers


def test_response_without_a_content_type_is_octet_stream(wire: Wire) -> None:
    delivery = wire.deliver()
    wire.post("response", delivery.request_id)

    assert delivery.caller.expect().headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("body", [b"", b"not json", bytes(range(256))])
def test_response_body_is_not_looked_at(wire: Wire, body: bytes) -> None:
    delivery = wire.deliver()

    assert wire.post("response", delivery.request_id, body).status == 202
    assert delivery.caller.expect().body == body


@pytest.mark.parametrize("invocation_id", [None, ""])
def test_post_without_an_invocation_id_is_not_checked(
    wire: Wire, invocation_id: str | None
) -> None:
    delivery = wire.deliver()

    assert wire.post("response", delivery.request_id, invocation_id=invocation_id).status == 202


def test_header_names_may_have_any_case(wire: Wire) -> None:
    delivery = wire.deliver()
    head = {"lAMBDA-runtime-INVOCATION-id": OTHER_ID}

    assert wire.post("response", delivery.request_id, headers=head).status == 410


def test_request_id_may_be_percent_encoded(wire: Wire) -> None:
    delivery = wire.deliver(X_Amzn_RequestId="r 1?")

    assert delivery.request_id == "r 1?"
    assert wire.post("response", "r 1?").status == 202


@pytest.mark.parametrize("request_id", ["a/b", "a&b"])
def test_request_id_that_needs_no_encoding_cannot_be_answered_encoded(
    wire: Wire, request_id: str
) -> None:
    """AWS's router only decodes what it would have encoded itself."""
    wire.deliver(X_Amzn_RequestId=request_id)

    assert wire.post("response", request_id).status == 400


# ------------------------------------------------------------------------ refused


@pytest.mark.parametrize("what", ["response", "error"])
def test_unknown_request_id_is_refused(wire: Wire, what: str) -> None:
    refused = wire.post(what, "nobody")

    assert (refused.status, refused.body) == (400, INVALID_ID)


@pytest.mark.parametrize("second", ["response", "error"])
@pytest.mark.parametrize("first", ["response", "error"])
def test_second_post_is_refused(wire: Wire, first: str, second: str) -> None:
    delivery = wire.deliver()
    assert wire.post(first, delivery.request_id).status == 202
    delivery.caller.expect()

    assert wire.post(second, delivery.request_id).body == INVALID_ID


@pytest.mark.parametrize("what", ["response", "error"])
def test_wrong_invocation_id_is_410_and_leaves_the_invocation_open(wire: Wire, what: str) -> None:
    delivery = wire.deliver()

    stale = wire.post(what, delivery.request_id, b"stale", invocation_id=OTHER_ID)
    right = wire.post(what, delivery.request_id, b"right", invocation_id=delivery.invocation_id)

    assert (stale.status, stale.body) == (410, TIMEOUT)
    assert right.status == 202
    assert delivery.caller.expect().body == b"right"


@pytest.mark.parametrize("what", ["response", "error"])
def test_post_for_a_caller_that_has_left_is_refused(wire: Wire, what: str) -> None:
    delivery = wire.deliver()
    delivery.caller.close()
    wire.settle()

    assert wire.post(what, delivery.request_id).body == INVALID_ID


def test_response_is_refused_while_another_is_uploaded(wire: Wire) -> None:
    delivery = wire.deliver()
    upload = begin_upload(wire, delivery.request_id)

    second = wire.post("response", delivery.request_id)

    assert (second.status, second.body) == (400, INVALID_ID)
    assert upload.send_raw(b"23").expect().status == 202
    assert delivery.caller.expect().body == b"123"


def test_error_during_the_upload_of_a_response_drops_that_connection(wire: Wire) -> None:
    delivery = wire.deliver()
    upload = begin_upload(wire, delivery.request_id)
    error = wire.send_post("error", delivery.request_id, b'{"errorMessage":"broke"}')
    wire.settle()

    upload.send_raw(b"23")

    assert upload.receive() is None
    assert error.expect().status == 202
    answer = delivery.caller.expect()
    assert (answer.error_type, answer.body) == ("Runtime.Unknown", b'{"errorMessage":"broke"}')


@pytest.mark.parametrize("mode", ["buffered", "Streaming", "x"])
def test_illegal_response_mode_ends_the_invocation(wire: Wire, mode: str) -> None:
    delivery = wire.deliver()
    head = {"Lambda-Runtime-Function-Response-Mode": mode}

    refused = wire.post("response", delivery.request_id, headers=head)
    answer = delivery.caller.expect()

    assert refused.status == 400
    assert refused.body == refusal("Invalid function response mode", "InvalidFunctionResponseMode")
    assert (answer.status, answer.error_type) == (200, "Runtime.InvalidResponseModeHeader")
    assert answer.body == b'{"errorType":"Runtime.InvalidResponseModeHeader"}'
    assert wire.post("error", delivery.request_id).status == 400


# ------------------------------------------------------------------------ sizes


def test_largest_response_is_accepted(wire: Wire) -> None:
    delivery = wire.deliver()

    upload = wire.send_post("response", delivery.request_id, b"z" * MAX_RESPONSE_BYTES)

    # Before the upload's own reply: AWS's emulator writes to the caller first.
    assert len(delivery.caller.expect().body) == MAX_RESPONSE_BYTES
    assert upload.expect().status == 202


def test_larger_response_ends_the_invocation(wire: Wire) -> None:
    delivery = wire.deliver()

    refused = wire.post("response", delivery.request_id, b"z" * (MAX_RESPONSE_BYTES + 1))
    answer = delivery.caller.expect()

    message = f"Exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
    assert (refused.status, refused.body) == (413, refusal(message, "RequestEntityTooLarge"))
    assert (answer.status, answer.error_type) == (200, "Function.ResponseSizeTooLarge")
    assert answer.body == b'{"errorType":"Function.ResponseSizeTooLarge"}'
    assert wire.post("error", delivery.request_id).status == 400


def test_connection_can_be_used_again_after_a_little_too_much(wire: Wire) -> None:
    """What is left of the body is short, so the server reads it."""
    delivery = wire.deliver()
    connection = wire.connect()
    body = b"z" * (MAX_RESPONSE_BYTES + 1)

    assert wire.post("response", delivery.request_id, body, on=connection).status == 413
    assert connection.send("GET", "/2018-06-01/ping").expect().body == b"pong"


def test_long_body_that_is_not_wanted_is_not_waited_for(wire: Wire) -> None:
    head = {"Content-Length": "1000000"}
    refused = wire.connect().send("POST", post_path("response", "nobody"), headers=head).expect()

    assert refused.status == 400
    assert refused.headers["connection"] == "close"


def test_caller_is_told_although_far_too_large_a_response_may_be_cut_off(wire: Wire) -> None:
    delivery = wire.deliver()
    connection = wire.connect()
    path = post_path("response", delivery.request_id)
    connection.send("POST", path, None, headers={"Content-Length": "20000000"})
    connection.send_as_much_as_wanted(b"z" * 20_000_000)

    assert delivery.caller.expect().error_type == "Function.ResponseSizeTooLarge"


def test_largest_error_is_accepted(wire: Wire) -> None:
    delivery = wire.deliver()

    upload = wire.send_post("error", delivery.request_id, b"z" * MAX_ERROR_BYTES)

    assert len(delivery.caller.expect().body) == MAX_ERROR_BYTES
    assert upload.expect().status == 202


def test_larger_error_leaves_the_invocation_open(wire: Wire) -> None:
    delivery = wire.deliver()

    refused = wire.post("error", delivery.request_id, b"z" * (MAX_ERROR_BYTES + 1))
    shorter = wire.post("error", delivery.request_id, b"short")

    assert (refused.status, refused.json()["errorType"]) == (413, "RequestEntityTooLarge")
    assert refused.headers["connection"] == "close"
    assert shorter.status == 202
    assert delivery.caller.expect().body == b"short"


# ------------------------------------------------------------------------ cut short


def test_response_shorter_than_declared_ends_the_invocation(wire: Wire) -> None:
    delivery = wire.deliver()

    cut = begin_upload(wire, delivery.request_id).half_close().expect()
    answer = delivery.caller.expect()

    assert cut.status == 400
    assert cut.body == refusal("HTTP request detected as truncated", "TruncatedHTTPRequest")
    assert (answer.status, answer.error_type) == (200, "Runtime.TruncatedResponse")


def test_chunked_response_without_its_last_chunk_ends_the_invocation(wire: Wire) -> None:
    delivery = wire.deliver()
    upload = wire.connect()
    head = {"Transfer-Encoding": "chunked"}
    upload.send("POST", post_path("response", delivery.request_id), headers=head)
    upload.send_raw(b"3\r\nabc\r\n").half_close()

    assert upload.expect().json()["errorType"] == "TruncatedHTTPRequest"
    assert delivery.caller.expect().error_type == "Runtime.TruncatedResponse"


def test_response_whose_connection_dies_ends_the_invocation(wire: Wire) -> None:
    delivery = wire.deliver()
    begin_upload(wire, delivery.request_id).close()

    assert delivery.caller.expect().error_type == "Runtime.TruncatedResponse"


def test_error_shorter_than_declared_leaves_the_invocation_open(wire: Wire) -> None:
    delivery = wire.deliver()
    path = post_path("error", delivery.request_id)
    cut = wire.connect().send("POST", path, b"1", headers={"Content-Length": "3"}).half_close()

    assert cut.expect().status == 413
    assert wire.post("error", delivery.request_id, b"whole").status == 202


def test_chunked_response_is_accepted(wire: Wire) -> None:
    delivery = wire.deliver()
    upload = wire.connect()
    head = {"Transfer-Encoding": "chunked"}
    upload.send("POST", post_path("response", delivery.request_id), headers=head)

    assert upload.send_raw(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").expect().status == 202
    assert delivery.caller.expect().body == b"abcde"


# ------------------------------------------------------------------------ error types


@pytest.mark.parametrize(
    ("posted", "shown"),
    [
        ("Function.ValueError", "Function.ValueError"),
        ("Runtime.Oops", "Runtime.Oops"),
        ("prefix.Runtime.Oops!", "prefix.Runtime.Oops!"),
        ("Function.lower", "Function.Unknown"),
        ("ValueError", "Runtime.Unknown"),
        ("Runtime.x", "Runtime.Unknown"),
        (None, "Runtime.Unknown"),
    ],
)
def test_error_type_is_filtered(wire: Wire, posted: str | None, shown: str) -> None:
    delivery = wire.deliver()
    head = {} if posted is None else {"Lambda-Runtime-Function-Error-Type": posted}

    accepted = wire.post("error", delivery.request_id, b'{"errorMessage":"m"}', headers=head)
    answer = delivery.caller.expect()

    assert (accepted.status, accepted.body) == (202, OK)
    assert (answer.status, answer.error_type) == (200, shown)
    assert answer.body == b'{"errorMessage":"m"}'
    assert answer.headers["content-type"].startswith("text/plain")


def test_long_xray_cause_is_accepted(wire: Wire) -> None:
    delivery = wire.deliver()
    head = {
        "Lambda-Runtime-Function-XRay-Error-Cause": '{"working_directory":"%s"}' % ("d" * 65536)
    }

    assert wire.post("error", delivery.request_id, headers=head).status == 202


# ------------------------------------------------------------------------ time-outs


def timed_out(start: Start, **headers: str) -> tuple[Wire, Delivery]:
    wire = start(timeout_s=1)
    delivery = wire.deliver(**headers)
    wire.let_time_out()
    return wire, delivery


def test_timed_out_caller_is_told_how_long_it_was(start: Start) -> None:
    _, delivery = timed_out(start)
    answer = delivery.caller.expect()

    assert (answer.status, answer.error_type) == (200, "Sandbox.Timedout")
    assert answer.body == (
        b'{"errorType":"Sandbox.Timedout","errorMessage":"Task timed out after 1.00 seconds"}'
    )


@pytest.mark.parametrize("what", ["response", "error"])
def test_first_late_post_is_410_and_the_next_400(start: Start, what: str) -> None:
    wire, delivery = timed_out(start)
    delivery.caller.expect()

    first = wire.post(what, delivery.request_id, invocation_id=delivery.invocation_id)
    second = wire.post(what, delivery.request_id, invocation_id=delivery.invocation_id)

    assert (first.status, first.body) == (410, TIMEOUT)
    assert (second.status, second.body) == (400, INVALID_ID)


def test_late_post_with_its_own_id_never_reaches_the_next_caller_of_a_reused_id(
    start: Start,
) -> None:
    wire, old = timed_out(start, X_Amzn_RequestId="again")
    old.caller.expect()
    new = wire.deliver(X_Amzn_RequestId="again")

    stale = wire.post("response", "again", b"stale", invocation_id=old.invocation_id)
    fresh = wire.post("response", "again", b"fresh", invocation_id=new.invocation_id)

    assert (stale.status, fresh.status) == (410, 202)
    assert new.caller.expect().body == b"fresh"


def test_late_post_without_an_id_reaches_the_wrong_caller(start: Start) -> None:
    """Why a client must echo the invocation id."""
    wire, old = timed_out(start, X_Amzn_RequestId="again")
    old.caller.expect()
    new = wire.deliver(X_Amzn_RequestId="again")

    assert wire.post("response", "again", b"STALE").status == 202
    assert new.caller.expect().body == b"STALE"


def test_upload_begun_in_time_may_finish_late(start: Start) -> None:
    wire = start(timeout_s=1)
    slow, other = wire.deliver(), wire.deliver()
    upload = begin_upload(wire, slow.request_id)
    wire.let_time_out()
    assert other.caller.expect().error_type == "Sandbox.Timedout"

    assert upload.send_raw(b"23").expect().status == 202
    assert slow.caller.expect().body == b"123"


def test_request_id_in_flight_cannot_be_used_twice(wire: Wire) -> None:
    wire.deliver(X_Amzn_RequestId="twin")
    wire.poll()

    refused = wire.call(X_Amzn_RequestId="twin").expect()

    assert (refused.status, refused.error_type) == (400, "Client.DuplicatedInvokeId")
    assert refused.body == b'{"errorType":"Client.DuplicatedInvokeId"}'
