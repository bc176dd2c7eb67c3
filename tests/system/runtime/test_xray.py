"""Functions with Tracer, under the runtime: what each sends to X-Ray is of its own request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.xray_daemon import Daemon, daemon
from tests.system.runtime.environments import Embedded

pytest.importorskip("aws_lambda_powertools")
pytest.importorskip("aws_xray_sdk")

pytestmark = pytest.mark.system

Start = Callable[..., Any]

TOGETHER = 8
ROUNDS = 3


@pytest.fixture(name="daemon")
def _daemon() -> Iterator[Daemon]:
    with daemon() as made:
        yield made


@pytest.mark.parametrize("handler", ["xray_tasks.main", "xray_threads.main"])
def test_each_request_has_a_trace_of_its_own(start: Start, daemon: Daemon, handler: str) -> None:
    env = {
        "AWS_XRAY_DAEMON_ADDRESS": daemon.address,
        "LAMBDA_TASK_ROOT": "/var/task",
        "TOGETHER": str(TOGETHER),
    }
    runtime = start(Embedded, handler, slots=TOGETHER, env=env, ready=TOGETHER)

    def call(number: int) -> None:
        header = f"Root=1-67891233-{number:024x};Parent={number:016x};Sampled=1"
        reply = runtime.call({"caller": number}, headers={"X-Amzn-Trace-Id": header})
        assert reply.error_type is None, reply

    with ThreadPoolExecutor(TOGETHER) as callers:
        list(callers.map(call, range(1, TOGETHER * ROUNDS + 1)))

    documents = daemon.documents()
    assert len(documents) == 3 * TOGETHER * ROUNDS
    for number in range(1, TOGETHER * ROUNDS + 1):
        trace_id = f"1-67891233-{number:024x}"
        *steps, main = [d for d in documents if d["trace_id"] == trace_id]
        assert {d["annotations"]["caller"] for d in (*steps, main)} == {number}
        assert main["parent_id"] == f"{number:016x}"
        assert {step["parent_id"] for step in steps} == {main["id"]}
        assert len(steps) == 2
    assert sum(d["annotations"].get("ColdStart", False) for d in documents) == 1
