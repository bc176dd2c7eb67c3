"""Handlers that take too long: who hears what, and when the slot is free again."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENCE_S
from tests.system.runtime.environments import Aws, Embedded, Runtime

pytestmark = pytest.mark.system

Start = Callable[..., Any]
Make = Callable[..., Runtime]

DEADLINE = "The handler was still running when its deadline came."


def new_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def runtime(share: Start) -> Any:
    """An async handler."""
    return share(Embedded, "tasks.main")


def check_told(reply: Any) -> None:
    assert reply.error_type == "Function.DeadlineExceeded"
    assert reply.json()["errorType"] == "DeadlineExceeded"
    assert reply.json()["errorMessage"] == DEADLINE


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_task_is_cancelled_in_time_to_tell_its_caller(share: Start, backend: str) -> None:
    runtime = share(Embedded, "tasks.main", env={"LMI_BACKEND": backend})
    request_id = new_id()

    check_told(runtime.call_in_a_hurry({"do": "overrun"}, request_id=request_id))

    runtime.wait_for(message="cleaned up", requestId=request_id)
    runtime.wait_for(requestId=request_id, level="ERROR", errorMessage=DEADLINE)
    assert runtime.call({"a": 1}).json() == {"event": {"a": 1}}


def test_a_task_that_will_not_stop_is_answered_for(runtime: Embedded) -> None:
    request_id = new_id()

    check_told(runtime.call_in_a_hurry({"do": "overrun_stubbornly"}, request_id=request_id))

    runtime.wait_for(message="will not stop", requestId=request_id)
    check_quarantine(runtime, request_id)


def check_quarantine(runtime: Embedded, request_id: str) -> None:
    """Its slot is not used while its code runs, and is used again afterwards."""
    line = runtime.wait_for(lambda line: "quarantined" in line["message"], requestId=request_id)
    assert line["message"].endswith("1 of 2 slots are usable.")
    runtime.call({"do": "release"})
    runtime.wait_for(
        requestId=request_id,
        message="The code of an invocation that was answered for has ended.",
    )
    runtime.wait_ready(2)


def test_a_thread_is_answered_for_and_what_it_says_later_reaches_nobody(share: Start) -> None:
    runtime = share(Embedded, "threads.main")
    request_id = new_id()

    check_told(runtime.call_in_a_hurry({"do": "hold"}, request_id=request_id))
    again = runtime.call_soon({"do": "hold"}, request_id)
    runtime.wait_until(lambda now: now.running == 1)
    check_quarantine(runtime, request_id)

    assert again.result(PATIENCE_S).json() == "too late"
    assert len(runtime.records(message="let go", requestId=request_id)) == 2


def test_a_process_that_overruns_is_answered_for_too(start: Start) -> None:
    # What never ends gets no time in the end.
    runtime = start(Embedded, "threads.alone", env={"LMI_SHUTDOWN_S": "0.1"})
    request_id = new_id()

    check_told(runtime.call_in_a_hurry({"do": "hold"}, request_id=request_id))

    line = runtime.wait_for(lambda line: "quarantined" in line["message"], requestId=request_id)
    assert line["message"].endswith("0 of 1 slots are usable.")


def test_a_handler_may_ask_to_be_left_alone(share: Start) -> None:
    runtime = share(Embedded, "tasks.patient")
    request_id = new_id()

    with ThreadPoolExecutor(1) as caller:
        reply = caller.submit(runtime.call_in_a_hurry, {"do": "hold"}, request_id=request_id)
        runtime.wait_for(
            message="The invocation is past its deadline and still runs.", requestId=request_id
        )
        runtime.let_time_out()
        assert reply.result(PATIENCE_S).error_type == "Sandbox.Timedout"
        runtime.call({"do": "release"})

    runtime.wait_ready(2)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        pytest.param(Embedded, {"deadline_bug": True}, id="embedded"),
        # It gives the whole function no longer to start than to answer.
        pytest.param(
            *(Aws, {"timeout_s": 10}), id="aws", marks=[pytest.mark.rie, pytest.mark.slow]
        ),
    ],
)
def test_an_answer_never_reaches_the_next_caller_with_the_same_id(
    start: Start, make: Make, options: Any
) -> None:
    """Retries reuse their request id, and a late answer knows only that."""
    runtime = start(make, "tasks.main", **options)
    request_id = new_id()
    first = runtime.call_soon({"do": "hold", "as": "first"}, request_id)
    runtime.wait_for(message="holding", requestId=request_id)
    runtime.let_time_out()
    assert first.result(PATIENCE_S).error_type == "Sandbox.Timedout"

    second = runtime.call_soon({"do": "hold", "as": "second"}, request_id)
    while len(runtime.records(message="holding", requestId=request_id)) < 2:
        assert not second.done()
    runtime.call({"do": "release"})

    assert second.result(PATIENCE_S).json() == "second"
    runtime.wait_for(lambda line: "410" in line["message"], requestId=request_id)
    assert runtime.call({"a": 1}).json() == {"event": {"a": 1}}


def test_whoever_blocks_the_loop_is_named(runtime: Embedded, tmp_path: Path) -> None:
    request_id = new_id()
    enough = tmp_path / "enough"

    reply = runtime.call_soon({"do": "block", "until": str(enough)}, request_id)

    line = runtime.wait_for(level="ERROR", blockedBy=request_id)
    enough.touch()
    assert reply.result(PATIENCE_S).json() == "at last"
    assert "in blocking_call\n" in line["message"]
    runtime.wait_for(lambda line: line["message"].startswith("The event loop was blocked for"))
    assert runtime.call({"a": 1}).json() == {"event": {"a": 1}}
