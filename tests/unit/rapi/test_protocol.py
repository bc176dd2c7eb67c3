"""What responses mean, and what answers look like, without a wire."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.model import MAX_ERROR_BYTES, Failure, Invocation, PostVerdict
from lmi_runtime.rapi.http import Response
from lmi_runtime.rapi.protocol import (
    MAX_DEADLINE_AHEAD_S,
    MAX_XRAY_CAUSE_BYTES,
    Fault,
    PollAgain,
    Requests,
    deadline_to_monotonic,
    error_body,
    failure_trailers,
    read_extension_id,
    read_poll,
    read_post,
)

NOW_S = 1_700_000_000.0
REQUESTS = Requests("127.0.0.1:9001")


def poll(status: int = 200, body: bytes = b"{}", **headers: bytes) -> object:
    """Read a poll's answer with `headers`, underscores for hyphens."""
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    response = Response(status, named, body)
    return read_poll(response, wall_time_s=NOW_S, monotonic_s=100.0)


def test_the_least_an_event_can_be() -> None:
    """Only the request id is required; everything else has a default."""
    assert poll(lambda_runtime_aws_request_id=b"r", body=b"") == Invocation(
        request_id="r", body=b""
    )


@pytest.mark.parametrize("status", [201, 202, 302, 400, 403, 404, 405, 500, 503])
def test_every_other_status_is_a_fault(status: int) -> None:
    """Even with an event in it."""
    step = poll(status, lambda_runtime_aws_request_id=b"r", body=b'{"errorType": "X"}')
    assert step == Fault(f"{status} X")


def test_a_fault_does_not_quote_the_body() -> None:
    """It may be an event, which has no business in the log."""
    step = poll(500, body=b"secret")
    assert isinstance(step, Fault)
    assert "secret" not in step.detail


def test_nothing_to_say_is_no_fault() -> None:
    """Polls of some emulators end like this."""
    assert poll(204) is PollAgain.NOW


def test_ids_keep_every_byte_and_texts_are_utf_8() -> None:
    """Ids are echoed as they came; the rest is for people and JSON parsers."""
    step = poll(
        lambda_runtime_aws_request_id=b"r\xe9",
        lambda_runtime_client_context='{"a": "é"}'.encode(),
        lambda_runtime_trace_id=b"\xff",
    )
    assert isinstance(step, Invocation)
    assert step.request_id.encode("latin-1") == b"r\xe9"
    assert step.client_context == '{"a": "é"}'
    assert step.trace_id == "\ufffd"


@pytest.mark.parametrize(
    ("ahead_ms", "expected"),
    [
        (3000, 103.0),
        (0, 100.0),
        (-2000, 98.0),
        (MAX_DEADLINE_AHEAD_S * 1000, 100.0 + MAX_DEADLINE_AHEAD_S),
        (MAX_DEADLINE_AHEAD_S * 1000 + 1, None),
        (2_000_000_000, None),
    ],
)
def test_a_deadline_is_converted_once_and_only_believed_when_it_can_be(
    ahead_ms: int, expected: float | None
) -> None:
    """AWS's emulator has sent a 2 s time-out as one of 23 days."""
    deadline_ms = int(NOW_S * 1000) + ahead_ms
    found = deadline_to_monotonic(deadline_ms, wall_time_s=NOW_S, monotonic_s=100.0)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("text", [b"-5", b"soon", b"1_0", b"\xb2", b"9" * 400, b"0"])
def test_a_deadline_that_is_no_number_is_none(text: bytes) -> None:
    """An event is served even so."""
    step = poll(lambda_runtime_aws_request_id=b"r", lambda_runtime_deadline_ms=text)
    assert isinstance(step, Invocation)
    assert (step.deadline_ms, step.deadline_s) == (0, None)


@given(st.integers(100, 599), st.binary(max_size=50))
def test_whatever_is_said_to_an_answer_is_a_verdict(status: int, body: bytes) -> None:
    """Only acceptance accepts."""
    result = read_post(Response(status, {}, body))
    assert (result.verdict is PostVerdict.ACCEPTED) == (status in (200, 202))


texts = st.one_of(
    st.text(max_size=20),
    st.builds(lambda character, n: character * n, st.characters(), st.integers(0, 1_100_000)),
)


@given(
    st.builds(
        Failure,
        error_type=texts,
        error_class=texts,
        message=texts,
        stack=st.lists(texts, max_size=4).map(tuple),
    ),
    texts,
    st.sampled_from([2048, 64 * 1024, MAX_ERROR_BYTES]),
)
def test_an_error_body_is_always_json_below_the_limit(
    failure: Failure, request_id: str, limit_bytes: int
) -> None:
    """Any length, any character, lone surrogates too."""
    body = error_body(failure, request_id, limit_bytes=limit_bytes)
    assert len(body) < limit_bytes
    fields = json.loads(body)
    assert failure.message.startswith(fields["errorMessage"])
    assert failure.stack[len(failure.stack) - len(fields["stackTrace"]) :] == tuple(
        fields["stackTrace"]
    )


def test_the_stack_is_cut_before_the_message_and_from_outside() -> None:
    """The innermost frame is where the fault is."""
    frames = tuple(f"{number:04}" + "x" * 10_000 for number in range(200))
    fields = json.loads(error_body(Failure("F.A", "A", "m" * 500_000, frames), "r"))
    assert fields["errorMessage"] == "m" * 500_000
    assert 40 < len(fields["stackTrace"]) < 60
    assert fields["stackTrace"][-1] == frames[-1]


def test_a_small_error_is_whole() -> None:
    """The four fields that AWS's clients send, in their order."""
    body = error_body(Failure("Function.A", "A", "é", ("f",)), "r")
    assert body == (
        b'{"errorMessage": "\\u00e9", "errorType": "A", "requestId": "r", "stackTrace": ["f"]}'
    )


@pytest.mark.parametrize(
    ("cause", "sent"),
    [
        (b'{"a": 1}', True),
        (b"x" * (MAX_XRAY_CAUSE_BYTES - 1), True),
        (b"x" * MAX_XRAY_CAUSE_BYTES, False),
        (b"a\r\nX-Evil: 1", False),
        (b"", False),
        (None, False),
    ],
)
def test_an_x_ray_cause_is_sent_whole_or_not_at_all(cause: bytes | None, *, sent: bool) -> None:
    """A cut one is not JSON, and a large one breaks the request."""
    request = REQUESTS.error("r", None, Failure("F.A", "A", "", xray_cause=cause))
    header = b"Lambda-Runtime-Function-XRay-Error-Cause: %b\r\n" % (cause or b"")
    assert (header in request) == sent
    assert b"Evil" not in request


@pytest.mark.parametrize(
    ("error_type", "header"),
    [
        ("Function.Größe", b"Function.Gr__e"),
        ("", b"Runtime.Unknown"),
        ("\r\n", b"__"),
        ("F" * 500, b"F" * 256),
    ],
)
def test_any_error_type_makes_a_header(error_type: str, header: bytes) -> None:
    """Class names may be anything; the header never breaks the request."""
    request = REQUESTS.error("r", None, Failure(error_type, "A", ""))
    assert b"\r\nLambda-Runtime-Function-Error-Type: %b\r\n" % header in request


def test_an_answer_echoes_no_invocation_id_where_none_came() -> None:
    """Older platforms send none."""
    assert b"Invocation-Id" not in REQUESTS.error("r", None, Failure("F.A", "A", ""))


@pytest.mark.parametrize("error_type", ["Function.A", "Function." + "A" * 500])
@pytest.mark.parametrize("text", ["m", "é", "\U0001f600"])
def test_trailers_fit_into_the_buffer_of_a_go_server(error_type: str, text: str) -> None:
    """Longer ones would make of the whole response a truncated one; they use what there is."""
    stack = tuple(f"frame {number}" for number in range(500))
    end = failure_trailers(Failure(error_type, "A", text * 1000, stack), "r")
    assert 4080 < len(end.removeprefix(b"0\r\n")) <= 4096
    encoded = end.split(b"Error-Body: ")[1].split(b"\r\n")[0]
    fields = json.loads(base64.b64decode(encoded))
    assert fields["errorType"] == "A"
    assert (text * 1000).startswith(fields["errorMessage"] or "cut to nothing")


def test_trailers_keep_the_innermost_frames() -> None:
    """A stack of a few kilobytes is an ordinary one."""
    stack = tuple(f'  File "/var/task/app/module.py", line {n}, in f\n' for n in range(200))
    end = failure_trailers(Failure("Function.A", "A", "why", stack), "r")
    assert len(end.removeprefix(b"0\r\n")) <= 4096
    encoded = end.split(b"Error-Body: ")[1].split(b"\r\n")[0]
    fields = json.loads(base64.b64decode(encoded))
    assert fields["errorMessage"] == "why"
    assert len(fields["stackTrace"]) > 30
    assert tuple(fields["stackTrace"]) == stack[-len(fields["stackTrace"]) :]


def test_init_errors_and_extensions_have_their_requests() -> None:
    """Sent once in a life, so spelled out here."""
    init = REQUESTS.init_error(Failure("Runtime.ImportModuleError", "ImportError", "no"))
    assert init.startswith(b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\n")
    assert b"Lambda-Runtime-Function-Error-Type: Runtime.ImportModuleError\r\n" in init
    register = REQUESTS.register_extension("lmi")
    assert register.startswith(b"POST /2020-01-01/extension/register HTTP/1.1\r\n")
    assert b"Lambda-Extension-Name: lmi\r\n" in register
    assert register.endswith(b'\r\n\r\n{"events":[]}')
    events = REQUESTS.extension_poll("e-1")
    assert events.startswith(b"GET /2020-01-01/extension/event/next HTTP/1.1\r\n")
    assert b"Lambda-Extension-Identifier: e-1\r\n" in events


@pytest.mark.parametrize(
    ("status", "headers", "extension_id"),
    [
        (200, {b"lambda-extension-identifier": b"e-1"}, "e-1"),
        (200, {}, None),
        (403, {b"lambda-extension-identifier": b"e-1"}, None),
    ],
)
def test_an_extension_is_registered_or_not(
    status: int, headers: dict[bytes, bytes], extension_id: str | None
) -> None:
    """Nothing in between."""
    assert read_extension_id(Response(status, headers, b"")) == extension_id
