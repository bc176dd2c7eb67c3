"""What one invocation can do wrong: its caller hears of it, the log does, and nobody else."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lmi_runtime.emulator import Fault, FaultKind
from tests.support.rie import Reply
from tests.system.runtime.environments import Embedded, Runtime

pytestmark = pytest.mark.system

Share = Callable[..., Any]
Make = Callable[..., Runtime]


@pytest.fixture
def runtime(kind: Make, share: Share) -> Iterator[Runtime]:
    """An async handler in one worker, which still serves afterwards, and is still the same."""
    shared: Runtime = share(kind, "tasks.main")
    before = shared.pids()
    yield shared
    assert shared.call({"well": True}).json() == {"event": {"well": True}}
    assert shared.pids() == before


def failed(runtime: Runtime, error_type: str, event: Any = None, **options: Any) -> Any:
    """Call, check that caller and log are told the same, and return what the caller got."""
    request_id = str(uuid.uuid4())
    reply = runtime.call(event, request_id=request_id, **options)
    assert (reply.status, reply.error_type) == (200, error_type), reply.body
    body: Any = reply.json()
    assert body["requestId"] == request_id
    line = runtime.wait_for(requestId=request_id, level="ERROR")
    assert line["errorType"] == body["errorType"]
    assert line["errorMessage"] == body["errorMessage"]
    return body


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ValueError", "wanted"),
        ("Custom", "wanted"),
        ("KeyboardInterrupt", "wanted"),
        ("CancelledError", "wanted"),
        (
            "SystemExit",
            "The handler tried to exit the process (status 'wanted'). Only this invocation "
            "failed; raise an error or return instead.",
        ),
    ],
)
def test_whatever_a_handler_raises_fails_its_invocation(
    runtime: Runtime, name: str, message: str
) -> None:
    body = failed(runtime, f"Function.{name}", {"do": "fail", "raise": name})

    assert body["errorType"] == name
    assert body["errorMessage"] == message
    assert "in fail\n" in body["stackTrace"][-1]
    assert not [frame for frame in body["stackTrace"] if "lmi_runtime/" in frame]


@pytest.mark.parametrize("name", ["ValueError", "Custom", "SystemExit", "KeyboardInterrupt"])
def test_what_a_child_task_raises_fails_its_invocation(runtime: Runtime, name: str) -> None:
    bare = name in ("SystemExit", "KeyboardInterrupt")  # asyncio does not group these two

    reply = runtime.call({"do": "fail_in_child", "raise": name})

    grouped = "BaseExceptionGroup" if name == "Custom" else "ExceptionGroup"
    assert reply.error_type == f"Function.{name if bare else grouped}"
    assert "wanted" in reply.json()["errorMessage"]  # type: ignore[index]


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt"])
def test_a_background_task_cannot_end_the_process(runtime: Runtime, name: str) -> None:
    text = str(uuid.uuid4())

    reply = runtime.call({"do": "fail_in_background", "raise": name, "text": text})

    assert reply.json() == "outlived it"
    line = runtime.wait_for(errorMessage=text, logger="lmi_runtime.bootstrap")
    assert line["message"] == "A background task tried to end the process; the worker goes on"
    assert "in fail\n" in line["stackTrace"][-1]


def test_a_result_that_has_no_json_form_is_an_error(runtime: Runtime) -> None:
    body = failed(runtime, "Runtime.MarshalError", {"do": "unencodable"})

    assert body["errorMessage"] == (
        "Unable to marshal response: Object of type object is not JSON serializable"
    )


def test_a_result_is_written_as_awslambdaric_writes_it(runtime: Runtime) -> None:
    assert runtime.call({"do": "exact"}).body == b'{"price": 1.10, "text": "\\u00e9"}'


def test_a_result_beyond_the_limit_is_refused_with_advice(runtime: Runtime) -> None:
    body = failed(
        runtime, "Function.ResponseSizeTooLarge", {"do": "large", "bytes": 7 * 1024 * 1024}
    )

    assert "7340034 bytes" in body["errorMessage"]
    assert "S3" in body["errorMessage"]


def test_a_result_at_the_limit_arrives(runtime: Runtime) -> None:
    reply = runtime.call({"do": "large", "bytes": 6 * 1024 * 1024 + 98})

    assert reply.error_type is None
    assert len(reply.body) == 6 * 1024 * 1024 + 100


def test_a_stream_beyond_the_limit_ends_alone(kind: Make, share: Share) -> None:
    runtime = share(kind, "streams.main")
    request_id = str(uuid.uuid4())
    event = {"chunks": 7, "bytes": 1024 * 1024}

    reply = runtime.call(event, request_id=request_id)

    assert reply.error_type == "Function.ResponseSizeTooLarge"
    assert runtime.call({"chunks": 1}, request_id="r-2").body == b"r-2 0\n"
    runtime.wait_for(lambda line: "too large" in line["message"].lower(), requestId=request_id)


# ---- events


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"a": NaN}', b"[1] 2"])
def test_an_event_that_is_not_json_fails_its_invocation(runtime: Runtime, body: bytes) -> None:
    told = failed(runtime, "Runtime.UnmarshalError", body=body)

    assert told["errorMessage"].startswith("Unable to unmarshal input: ")


def test_a_binary_event_arrives_as_bytes(runtime: Runtime) -> None:
    headers = {"Content-Type": "application/octet-stream"}

    reply = runtime.call(body=bytes(range(256)), headers=headers)

    assert reply.json() == {"event": bytes(range(256)).decode("latin-1")}


def test_an_empty_binary_event_is_fine(runtime: Runtime) -> None:
    reply = runtime.call(body=b"", headers={"Content-Type": "application/octet-stream"})

    assert reply.json() == {"event": ""}


def test_an_event_of_six_megabytes_arrives(runtime: Runtime) -> None:
    event = "x" * (6 * 1024 * 1024 - 2)

    assert runtime.call(event).json() == {"event": event}


def test_a_client_context_that_is_no_json_fails_its_invocation(runtime: Runtime) -> None:
    headers = {"X-Amz-Client-Context": "bm90IGpzb24="}

    failed(runtime, "Runtime.LambdaContextUnmarshalError", {"do": "identity"}, headers=headers)


def test_half_an_event_is_an_error_and_no_other_callers_answer(share: Share) -> None:
    """The platform sends status 200 before it knows whether the upload will be whole."""
    runtime: Embedded = share(Embedded, "tasks.main")
    runtime.script("next", Fault(FaultKind.CORRUPT_EVENT), times=8)

    # Polls that wait already are not hit, so some calls go well first.
    good: list[Reply] = []
    bad: list[Reply] = []
    while len(bad) < 8:
        # Its caller hears of the fault before the runtime does.
        runtime.wait_ready(2)
        reply = runtime.call({"long": "x" * 100})
        (bad if reply.error_type else good).append(reply)
        assert len(good) < 100

    assert {reply.body for reply in good} <= {json.dumps({"event": {"long": "x" * 100}}).encode()}
    assert {reply.error_type for reply in bad} == {"Runtime.Unknown"}
    for reply in bad:
        request_id = reply.headers["x-amzn-requestid"]
        runtime.wait_for(requestId=request_id, errorType="Runtime.UnmarshalError")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ValueError", "ValueError"),
        ("SystemExit", "SystemExit"),
        ("Interrupt", "KeyboardInterrupt"),
    ],
)
@pytest.mark.parametrize("handler", ["threads.main", "threads.alone"])
def test_whatever_a_sync_handler_raises_fails_its_invocation(
    kind: Make, share: Share, handler: str, name: str, text: str
) -> None:
    runtime = share(kind, handler)
    before = runtime.pids()

    body = failed(runtime, f"Function.{text}", {"do": "fail", "raise": name})

    assert body["errorType"] == text
    assert runtime.call({"do": "identity"}, request_id="r-2").json()["request"] == "r-2"
    assert runtime.pids() == before
