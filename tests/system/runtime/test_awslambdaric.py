"""AWS's own client calls what we decorate: one process a request, the same answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.system.runtime.environments import Embedded, Runtime

pytestmark = pytest.mark.system

Share = Callable[..., Any]
AWS_CLIENT = ("-m", "awslambdaric")


def start_awslambdaric(share: Share, handler: str) -> Runtime:
    runtime: Runtime = share(Embedded, handler, command=AWS_CLIENT, ready=2)
    # It polls again only once it has answered.
    runtime.wait_ready(2)
    return runtime


@pytest.mark.parametrize("handler", ["tasks.main", "threads.main", "threads.alone"])
def test_awslambdaric_runs_a_decorated_handler(share: Share, handler: str) -> None:
    runtime = start_awslambdaric(share, handler)

    reply = runtime.call({"do": "identity"}, request_id="r-1")

    answer: Any = reply.json()
    assert (answer["request"], answer["context"]) == ("r-1", "r-1")
    assert answer["pid"] in runtime.pids()[1:]


def test_awslambdaric_reports_what_an_async_handler_raises(share: Share) -> None:
    runtime = start_awslambdaric(share, "tasks.main")

    reply = runtime.call({"do": "fail", "raise": "ValueError"})

    body: Any = reply.json()
    assert (body["errorType"], body["errorMessage"]) == ("ValueError", "wanted")
    runtime.wait_ready(2)
    assert runtime.call({"a": 1}).json() == {"event": {"a": 1}}


def test_awslambdaric_gets_a_stream_in_one_piece(share: Share) -> None:
    runtime = start_awslambdaric(share, "streams.main")

    reply = runtime.call({"chunks": 2, "head": True}, request_id="r-1")

    assert reply.json() == {
        "statusCode": 201,
        "headers": {"x-made-by": "test"},
        "cookies": ["a=b"],
        "body": "r-1 0\nr-1 1\n",
        "isBase64Encoded": False,
    }


def test_request_scope_works_under_awslambdaric(share: Share) -> None:
    runtime = start_awslambdaric(share, "tasks.main")

    first = runtime.call({"do": "mingle", "me": "a", "wait": 0}, request_id="a")
    runtime.wait_ready(2)
    second = runtime.call({"do": "mingle", "me": "b", "wait": 0}, request_id="b")

    assert first.json()["seen"] == ["a"] * 4 + [["a", "a"]] * 3  # type: ignore[index]
    assert second.json()["seen"] == ["b"] * 4 + [["b", "b"]] * 3  # type: ignore[index]


@pytest.mark.parametrize("handler", ["powertools_foreign.plain", "powertools_foreign.main"])
def test_powertools_is_safe_under_awslambdaric(share: Share, handler: str) -> None:
    """What one invocation sets is not there in the next, and async handlers are waited for."""
    runtime = start_awslambdaric(share, handler)

    for caller in ("a", "b", "c"):
        reply = runtime.call({"caller": caller}, request_id=f"{handler}-{caller}")
        assert reply.json() == {"left over": None, "request": f"{handler}-{caller}"}
        runtime.wait_for(message="served", caller=caller, function_request_id=f"{handler}-{caller}")
        runtime.wait_for(lambda record: record.get("orders") == [1.0])
        runtime.wait_ready(2)
