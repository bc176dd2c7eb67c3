"""Functions with boto3, under the runtime: each call to AWS tells of the request it is made for."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.aws_stub import AwsStub
from tests.system.runtime.environments import Embedded, Runtime

pytest.importorskip("boto3")

pytestmark = pytest.mark.system

Start = Callable[..., Any]

TOGETHER = 4
ROUNDS = 2


@pytest.fixture
def stub() -> Iterator[AwsStub]:
    with AwsStub() as server:
        yield server


def all_at_once(runtime: Runtime) -> set[str]:
    """Call in rounds of so many as meet in the handler; who called."""
    names = {f"caller-{uuid.uuid4()}" for _ in range(TOGETHER * ROUNDS)}

    def call(caller: str) -> None:
        reply = runtime.call({"caller": caller}, headers={"X-Amzn-Trace-Id": f"Root={caller}"})
        assert reply.error_type is None, reply

    with ThreadPoolExecutor(TOGETHER) as callers:
        list(callers.map(call, names))
    return names


@pytest.mark.parametrize("handler", ["boto_tasks.main", "boto_threads.main"])
def test_calls_tell_of_their_own_request(start: Start, stub: AwsStub, handler: str) -> None:
    env = {
        "TOGETHER": str(TOGETHER),
        "STUB": stub.url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    runtime = start(Embedded, handler, slots=TOGETHER, env=env, ready=TOGETHER)

    callers = all_at_once(runtime)

    for caller in callers:
        calls = [call for call in stub.calls if caller in call.path or caller.encode() in call.body]
        kinds = {call.method for call in calls}
        assert kinds == ({"POST"} if "tasks" in handler else {"POST", "PUT"})
        assert {call.headers["X-Amzn-Trace-Id"] for call in calls} == {f"Root={caller}"}
