"""Many requests at once in one process, and each sees itself and nobody else."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.rie import Reply
from tests.system.runtime.environments import Runtime, record_of

pytestmark = pytest.mark.system

Share = Callable[..., Any]
Make = Callable[..., Runtime]

CALLS = 100
CALLERS = 16


def mingle(runtime: Runtime) -> list[tuple[str, Reply]]:
    """Let many callers call at once, each handler waiting for a different while in between."""
    waits = random.Random(7)

    def call(wait_s: float) -> tuple[str, Reply]:
        me = str(uuid.uuid4())
        headers = {"X-Amzn-Trace-Id": f"Root={me}"}
        event = {"do": "mingle", "me": me, "wait": wait_s}
        return me, runtime.call(event, headers=headers, request_id=me)

    with ThreadPoolExecutor(CALLERS) as callers:
        told = list(callers.map(call, [waits.uniform(0, 0.02) for _ in range(CALLS)]))
    # What one process writes arrives in order, so behind this line nothing is missing.
    end, _ = call(0)
    runtime.wait_for(message=f"begun by {end}, ended by {end}")
    return told


def check_lines(runtime: Runtime, me: str, wanted: set[str]) -> None:
    """Everything that `me` is in was logged, and under its own request id."""
    found = [record_of(line) for line in runtime.lines() if f"by {me}" in line]
    assert {line["requestId"] for line in found} == {me}
    messages = [line["message"] for line in found]
    assert len(messages) == len(wanted)
    assert all(any(text in message for message in messages) for text in wanted)


@pytest.mark.parametrize("env", [{}, {"LMI_BACKEND": "trio"}], ids=["uvloop", "trio"])
def test_tasks_never_see_each_others_request(kind: Make, share: Share, env: Any) -> None:
    runtime = share(kind, "tasks.main", slots=CALLERS, env=env, ready=CALLERS)

    told = mingle(runtime)

    assert [reply.error_type for _, reply in told] == [None] * CALLS
    for me, reply in told:
        answer: Any = reply.json()
        assert answer["seen"] == [me, me, me, me, *[[me, me]] * 3]
        assert (answer["trace"], answer["environ"]) == (f"Root={me}", None)
    for me, _ in told:
        check_lines(
            runtime,
            me,
            {
                f"logged by {me}",
                f"printed by {me}",
                f"warned by {me}",
                f"begun by {me}, ended by {me}",
            },
        )


def test_threads_never_see_each_others_request(kind: Make, share: Share) -> None:
    runtime = share(kind, "threads.main", slots=CALLERS, ready=CALLERS)

    told = mingle(runtime)

    assert [reply.error_type for _, reply in told] == [None] * CALLS
    for me, reply in told:
        answer: Any = reply.json()
        assert answer == {"seen": [me] * 6, "environ": None}
    for me, _ in told:
        check_lines(runtime, me, {f"logged by {me}", f"begun by {me}, ended by {me}"})


def test_every_line_of_the_log_is_json(kind: Make, share: Share) -> None:
    runtime = share(kind, "tasks.main", slots=CALLERS, env={}, ready=CALLERS)
    runtime.call({"do": "mingle", "me": "x", "wait": 0})
    runtime.wait_for(message="begun by x, ended by x")

    ours = [line for line in runtime.lines() if " RequestId: " not in line]

    for line in ours:
        assert {"timestamp", "level", "message", "logger"} <= json.loads(line).keys()
