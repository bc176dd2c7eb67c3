"""The SDK's AsyncContext: no task factory, and the request's trace on Lambda."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import warnings
from contextvars import copy_context
from typing import Any

import pytest
import uvloop
from aws_xray_sdk.core import async_context
from aws_xray_sdk.core.async_context import AsyncContext
from aws_xray_sdk.core.lambda_launcher import LAMBDA_TASK_ROOT_KEY

from lmi_runtime.context import Request, enter
from lmi_runtime.model import Invocation
from tests.support.crowd import COUNT, TaskCrowd, request_of
from tests.support.patience import PATIENCE_S
from tests.support.xray_daemon import Daemon, facts_of

from .test_crowds import assert_apart, work_in_tasks


def test_it_is_made_outside_loops_as_well(elsewhere: Any) -> None:
    """Where modules are imported there is none; the SDK looks for one and may find nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        elsewhere.configure(context=AsyncContext(context_missing="IGNORE_ERROR"))
    assert elsewhere.context.context_missing == "IGNORE_ERROR"


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_tasks_take_a_context_of_their_own(elsewhere: Any, daemon: Daemon, new_loop: Any) -> None:
    async def step(name: str) -> None:
        async with elsewhere.in_subsegment_async(name):
            await asyncio.sleep(0)

    async def main() -> None:
        elsewhere.configure(context=AsyncContext())
        async with elsewhere.in_segment_async("segment"):
            await asyncio.gather(step("a"), asyncio.create_task(step("b"), context=copy_context()))

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    (document,) = daemon.documents()
    assert {child["name"] for child in document["subsegments"]} == {"a", "b"}


def test_a_request_in_the_midst_of_one_configures_the_recorder(
    elsewhere: Any, daemon: Daemon
) -> None:
    """Each invocation may bring a context of its own, as in the SDK's examples."""
    crowd = TaskCrowd()

    async def one(number: int) -> None:
        elsewhere.configure(context=AsyncContext())
        async with elsewhere.in_segment_async(f"segment-{number}"):
            await crowd.meet()
            async with elsewhere.in_subsegment_async("within") as within:
                await crowd.meet()
                within.put_annotation("canary", number)

    crowd.serve(one)
    documents = daemon.documents()
    assert len(documents) == COUNT
    for document in documents:
        (within,) = document["subsegments"]
        assert document["name"] == f"segment-{within['annotations']['canary']}"


def test_on_lambda_it_goes_on_with_the_trace_of_the_request(
    on_lambda: Any, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LAMBDA_TASK_ROOT_KEY, "/var/task")
    on_lambda.configure(context=AsyncContext())
    crowd = TaskCrowd()
    crowd.serve(lambda number: work_in_tasks(on_lambda, number, crowd.meet))
    assert_apart(daemon.documents(), range(COUNT))


def test_on_lambda_without_a_trace_there_is_nothing_to_go_on_with(
    on_lambda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LAMBDA_TASK_ROOT_KEY, "/var/task")
    on_lambda.configure(context=AsyncContext(context_missing="IGNORE_ERROR"))

    async def main() -> None:
        assert on_lambda.begin_subsegment("outside requests") is None
        enter(Request(Invocation(request_id="r")))
        assert on_lambda.begin_subsegment("without a trace") is None

    asyncio.run(main())


def test_its_task_factory_takes_what_loops_give() -> None:
    async def nothing() -> str:
        return "done"

    async def main() -> str:
        asyncio.get_running_loop().set_task_factory(async_context.task_factory)
        return await asyncio.create_task(nothing(), context=copy_context())

    assert asyncio.run(main()) == "done"


LATE = """
import asyncio
from contextvars import copy_context
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.async_context import AsyncContext
from lmi_runtime.integrations import make_safe

async def nothing():
    pass

async def main():
    xray_recorder.configure(context=AsyncContext())
    print("X-Ray AsyncContext" in make_safe().patched)
    await asyncio.create_task(nothing(), context=copy_context())
    with xray_recorder.in_segment("segment"):
        pass

asyncio.run(main())
"""


def test_a_factory_that_was_there_before_is_taken_out() -> None:
    """`make_safe` is called by hand elsewhere, when the recorder has been configured."""
    ran = subprocess.run(
        [sys.executable, "-c", LATE],
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
        check=False,
    )
    assert (ran.stdout, ran.returncode) == ("True\n", 0), ran.stderr


def test_its_trace_on_lambda_is_the_requests(
    on_lambda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LAMBDA_TASK_ROOT_KEY, "/var/task")
    on_lambda.configure(context=AsyncContext())

    async def main() -> None:
        enter(request_of(8))
        entity = on_lambda.get_trace_entity()
        assert (entity.trace_id, entity.id) == facts_of(8)

    asyncio.run(main())
