"""Every kind of handler, served by real processes under both emulators."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.patience import PATIENCE_S
from tests.system.runtime.environments import Embedded, Runtime

pytestmark = pytest.mark.system

Start = Callable[..., Any]
Make = Callable[..., Runtime]


def identity(runtime: Runtime, **headers: str) -> Any:
    reply = runtime.call({"do": "identity"}, headers=headers, request_id="r-1")
    assert reply.error_type is None, reply.body
    return reply.json()


def test_an_async_handler_runs_as_a_task(kind: Make, share: Start) -> None:
    seen = identity(share(kind, "tasks.main"), **{"X-Amzn-Trace-Id": "Root=1-2-3"})

    assert (seen["request"], seen["context"]) == ("r-1", "r-1")
    assert seen["trace"] == "Root=1-2-3"
    assert seen["environ"] is None
    assert seen["arn"].startswith("arn:aws:lambda:")
    assert seen["loop"] == "uvloop"


def test_an_async_function_needs_no_decorator(share: Start) -> None:
    assert identity(share(Embedded, "tasks.undecorated"))["loop"] == "uvloop"


@pytest.mark.parametrize(
    ("variable", "value", "loop"),
    [("LMI_UVLOOP", "0", "asyncio"), ("LMI_BACKEND", "trio", "trio")],
)
def test_the_event_loop_is_the_one_asked_for(
    kind: Make, start: Start, variable: str, value: str, loop: str
) -> None:
    runtime = start(kind, "tasks.main", env={variable: value}, vcpus=2)

    assert identity(runtime)["loop"] == loop
    assert runtime.call({"do": "fail", "raise": "SystemExit"}).error_type == "Function.SystemExit"
    assert runtime.call({"a": 1}).json() == {"event": {"a": 1}}


def test_a_thread_safe_handler_shares_its_process(kind: Make, share: Start) -> None:
    runtime = share(kind, "threads.main")
    runtime.wait_ready(2)
    held = runtime.call_soon({"do": "hold"}, request_id="held")
    runtime.wait_for(message="holding", requestId="held")
    seen = identity(runtime)
    runtime.call({"do": "release"})

    assert held.result(PATIENCE_S).json() == "too late"
    assert (seen["request"], seen["main"]) == ("r-1", False)
    assert len(runtime.pids()) == 2


@pytest.mark.parametrize("name", ["threads.alone", "threads.undecorated"])
def test_any_other_function_has_its_process_to_itself(kind: Make, share: Start, name: str) -> None:
    runtime = share(kind, name)
    runtime.wait_ready(2)

    replies = [runtime.call_soon({"do": "identity"}) for _ in range(2)]

    assert len(runtime.pids()) == 3
    assert {reply.result(PATIENCE_S).json()["pid"] for reply in replies} <= set(runtime.pids()[1:])


def test_orjson_encodes_what_json_cannot(kind: Make, share: Start) -> None:
    reply = share(kind, "tasks.with_orjson").call({"n": 1})

    assert reply.body == b'{"event":{"n":1},"when":"2026-01-02"}'
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", ["streams.main", "streams.in_threads"])
def test_a_stream_arrives_whole(kind: Make, share: Start, name: str) -> None:
    reply = share(kind, name).call({"chunks": 3}, request_id="r-1")

    assert reply.body == b"r-1 0\nr-1 1\nr-1 2\n"
    assert reply.headers["lambda-runtime-function-response-mode"] == "streaming"


def test_a_stream_of_http_begins_with_its_head(kind: Make, share: Start) -> None:
    reply = share(kind, "streams.main").call({"chunks": 1, "head": True}, request_id="r-1")

    head, body = reply.body.split(bytes(8))
    assert json.loads(head) == {
        "statusCode": 201,
        "headers": {"x-made-by": "test"},
        "cookies": ["a=b"],
    }
    assert body == b"r-1 0\n"
    kind_of = reply.headers["content-type"]
    assert kind_of == "application/vnd.awslambda.http-integration-response"


@pytest.mark.parametrize(
    ("name", "event", "error"),
    [
        ("streams.main", {"chunks": 2, "fail_at": 1}, "Function.ValueError"),
        ("streams.main", {"chunks": 2, "fail_at": 0}, "Function.ValueError"),
        ("streams.main", {"chunks": 2, "fail_at": 2}, "Function.SystemExit"),
        ("streams.in_threads", {"chunks": 2, "fail_at": 1}, "Function.ValueError"),
    ],
)
def test_a_stream_that_fails_midway_ends_as_an_error(
    kind: Make, share: Start, name: str, event: Any, error: str
) -> None:
    runtime = share(kind, name)

    reply = runtime.call(event, request_id="broken")

    assert reply.error_type == error
    assert reply.json()["errorType"] == error.removeprefix("Function.")
    assert runtime.call({"chunks": 1}, request_id="r-2").body == b"r-2 0\n"
    runtime.wait_for(requestId="broken", level="ERROR")


def test_a_function_of_classic_lambda_serves_one_at_a_time(start: Start) -> None:
    runtime = start(Embedded, "tasks.main", slots=None, env={"AWS_LAMBDA_LOG_FORMAT": "Text"})

    first = identity(runtime, **{"X-Amzn-Trace-Id": "Root=1-2-3"})
    runtime.wait_ready(1)
    second = identity(runtime)

    assert (first["trace"], first["environ"]) == ("Root=1-2-3", "Root=1-2-3")
    assert (second["trace"], second["environ"]) == (None, None)
    assert runtime.pids() == [first["pid"]]


def test_classic_lambda_survives_what_managed_instances_survive(start: Start) -> None:
    runtime = start(Embedded, "threads.main", slots=None)

    assert runtime.call({"do": "fail", "raise": "SystemExit"}).error_type == "Function.SystemExit"
    runtime.wait_ready(1)
    assert identity(runtime)["request"] == "r-1"
