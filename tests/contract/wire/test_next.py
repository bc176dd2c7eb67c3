"""GET next: what a poll gets, which poll gets it, and what happens to polls nobody reads."""

from __future__ import annotations

import base64
import json

import pytest

from tests.contract.wire.client import INVOKE, NEXT, Wire
from tests.contract.wire.environments import Start


def test_ping_is_answered(wire: Wire) -> None:
    response = wire.request("GET", "/2018-06-01/ping")

    assert (response.status, response.body) == (200, b"pong")


@pytest.mark.parametrize("path", ["/", "/2018-06-01/runtime/nothing", "/2018-06-01/runtime"])
def test_unknown_path_is_404(wire: Wire, path: str) -> None:
    response = wire.request("GET", path)

    assert (response.status, response.body) == (404, b"404 page not found\n")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", NEXT), ("GET", "/2018-06-01/runtime/init/error"), ("POST", "/2018-06-01/ping")],
)
def test_wrong_method_is_405_without_a_body(wire: Wire, method: str, path: str) -> None:
    response = wire.request(method, path, b"")

    assert (response.status, response.body) == (405, b"")


def test_event_carries_its_facts_in_headers(wire: Wire) -> None:
    delivery = wire.deliver(b'{"n":1}', X_Amzn_RequestId="r-1")
    headers = delivery.event.headers

    assert delivery.event.status == 200
    assert delivery.event.body == b'{"n":1}'
    assert headers["lambda-runtime-aws-request-id"] == "r-1"
    assert len(headers["lambda-runtime-invocation-id"]) == 36
    assert headers["lambda-runtime-invoked-function-arn"].startswith("arn:aws:lambda:us-east-1:")
    assert headers["content-type"] == "application/json"
    assert headers["lambda-runtime-deadline-ms"].isdigit()


def test_absent_facts_have_no_header(wire: Wire) -> None:
    headers = wire.deliver().event.headers

    assert not {
        "lambda-runtime-trace-id",
        "lambda-runtime-client-context",
        "lambda-runtime-cognito-identity",
        "lambda-runtime-aws-tenant-id",
    } & set(headers)


def test_request_id_is_made_up_if_the_caller_has_none(wire: Wire) -> None:
    assert len(wire.deliver().request_id) == 36


def test_deadline_is_a_million_times_too_far_ahead(start: Start) -> None:
    """AWS's emulator takes milliseconds for nanoseconds; clients have to survive it."""
    wire = start(timeout_s=2)
    first = wire.deliver(X_Amzn_RequestId="a")
    wire.post("response", "a")

    ahead_ms = int(first.event.headers["lambda-runtime-deadline-ms"])

    assert ahead_ms > 1_700_000_000_000 + 1_900_000_000


def test_facts_of_the_caller_are_passed_on(wire: Wire) -> None:
    context = json.dumps({"custom": {"a": "b"}})
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    delivery = wire.deliver(
        X_Amz_Client_Context=base64.b64encode(context.encode()).decode(),
        X_Amzn_Trace_Id=trace,
        Content_Type="text/x-test",
    )
    headers = delivery.event.headers

    assert headers["lambda-runtime-client-context"] == context
    assert headers["lambda-runtime-trace-id"] == trace
    assert headers["content-type"] == "text/x-test"


def test_binary_event_arrives_as_it_is(wire: Wire) -> None:
    event = bytes(range(256))

    assert wire.deliver(event, Content_Type="application/octet-stream").event.body == event


def test_empty_event_has_content_length_zero(wire: Wire) -> None:
    delivery = wire.deliver(b"")

    assert delivery.event.body == b""
    assert delivery.event.headers["content-length"] == "0"


def test_event_of_2048_bytes_has_a_length(wire: Wire) -> None:
    headers = wire.deliver(b"x" * 2048).event.headers

    assert headers["content-length"] == "2048"
    assert "transfer-encoding" not in headers


def test_longer_event_is_chunked(wire: Wire) -> None:
    delivery = wire.deliver(b"x" * 2049)

    assert delivery.event.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in delivery.event.headers
    assert delivery.event.body == b"x" * 2049


def test_event_size_is_not_limited(wire: Wire) -> None:
    event = b"y" * 6_296_456

    assert wire.deliver(event).event.body == event


def test_body_of_a_poll_is_ignored(wire: Wire) -> None:
    poll = wire.connect().send("GET", NEXT, b"surprise")
    wire.settle()

    assert wire.deliver_to(poll).event.status == 200


def test_event_whose_upload_broke_arrives_with_an_error_object_behind_it(wire: Wire) -> None:
    """Status 200 had been sent when the caller left, so it is no promise of a whole event."""
    poll = wire.poll()
    caller = wire.connect_caller()
    caller.send("POST", INVOKE, b'{"half":', headers={"Content-Length": "50"}).half_close()

    event = poll.expect()

    assert event.status == 200
    assert event.body.startswith(b'{"half":')
    assert event.body.endswith(b'"errorType":"InternalServerError"}\n')


def test_oldest_poll_gets_the_next_event(wire: Wire) -> None:
    polls = [wire.poll() for _ in range(3)]

    got = [wire.deliver_to(poll, b"%d" % n).event.body for n, poll in enumerate(polls)]

    assert got == [b"0", b"1", b"2"]


def test_event_without_a_waiting_poll_is_refused_at_once(wire: Wire) -> None:
    wire.deliver()

    refused = wire.call().expect()

    assert (refused.status, refused.error_type) == (400, "Runtime.Unavailable")
    assert refused.body == b'{"errorType":"Runtime.Unavailable"}'


def test_more_polls_than_the_limit_get_more_events(start: Start) -> None:
    wire = start(max_concurrency=2)
    polls = [wire.poll() for _ in range(5)]

    assert [wire.deliver_to(poll).event.status for poll in polls] == [200] * 5


def test_one_connection_may_poll_and_post_in_turn(wire: Wire) -> None:
    connection = wire.connect()
    for n in range(3):
        connection.send("GET", NEXT)
        wire.settle()
        delivery = wire.deliver_to(connection, X_Amzn_RequestId=f"r-{n}")
        accepted = wire.post(
            "response", f"r-{n}", invocation_id=delivery.invocation_id, on=connection
        )
        assert accepted.status == 202
        assert delivery.caller.expect().status == 200


def test_closed_poll_stays_in_the_queue_and_swallows_one_event(wire: Wire) -> None:
    ghost = wire.poll()
    living = wire.poll()
    ghost.close()
    wire.settle()

    lost = wire.call(X_Amzn_RequestId="lost").expect()
    served = wire.deliver_to(living, X_Amzn_RequestId="served")

    assert (lost.status, lost.error_type) == (200, "Runtime.Unknown")
    assert served.request_id == "served"
    assert wire.post("response", "lost").status == 400


def test_post_is_accepted_after_the_connection_of_the_poll_has_died(wire: Wire) -> None:
    poll = wire.poll()
    delivery = wire.deliver_to(poll)
    poll.close()

    assert wire.post("response", delivery.request_id, b"late").status == 202
    assert delivery.caller.expect().body == b"late"


def test_poll_after_an_init_error_makes_the_environment_ready(wire: Wire) -> None:
    assert wire.request("POST", "/2018-06-01/runtime/init/error", b"{}").status == 202

    delivery = wire.deliver()

    assert wire.post("response", delivery.request_id, b"fine").status == 202
    assert delivery.caller.expect().body == b"fine"


def test_call_before_the_first_poll_waits_for_it(wire: Wire) -> None:
    caller = wire.call(b"early")
    wire.settle()

    assert wire.connect().send("GET", NEXT).expect().body == b"early"
    assert caller


def test_idle_poll_sees_the_end_without_a_status(wire: Wire) -> None:
    wire.deliver()
    poll = wire.poll()

    wire.begin_shutdown()

    assert poll.receive("GET") is None
