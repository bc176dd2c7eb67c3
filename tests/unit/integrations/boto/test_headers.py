"""Each call to AWS tells of the request that it is made for."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextvars import Context
from types import ModuleType
from typing import Any
from urllib.parse import quote

import anyio
import boto3  # type: ignore[import-untyped]
import botocore.handlers  # type: ignore[import-untyped]
import pytest
from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped]

from lmi_runtime import context
from lmi_runtime.context import Request, spawn_thread
from lmi_runtime.integrations.boto import call, headers
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.model import Invocation
from tests.support.aws_stub import AwsStub
from tests.support.crowd import COUNT, TaskCrowd, ThreadCrowd
from tests.support.patience import PATIENCE_S

HEADER = "X-Amzn-Trace-Id"


def own_trace() -> str:
    request = context.current()
    assert request.trace_id is not None
    return request.trace_id


def sent(stub: AwsStub) -> dict[str, str]:
    """The header that came with each call, by what the call says of itself."""
    return {call.body.decode(): call.headers[HEADER] for call in stub.calls}


def in_request(trace_id: str | None, job: Callable[[], Any]) -> None:
    def body() -> None:
        with context.serving(Request(Invocation(request_id="r", trace_id=trace_id))):
            job()

    Context().run(body)


def test_threads_send_their_own_requests_header(make: Callable[..., Any], stub: AwsStub) -> None:
    sqs = make("sqs")
    crowd = ThreadCrowd()

    def handle(number: int) -> str:
        crowd.meet()
        sqs.list_queues(QueueNamePrefix=f"{number}-")
        return own_trace()

    traces = crowd.serve(handle)

    assert sent(stub) == {
        f'{{"QueueNamePrefix": "{number}-"}}': traces[number] for number in range(COUNT)
    }
    assert len(set(traces)) == COUNT


def test_tasks_send_their_own_requests_header(make: Callable[..., Any], stub: AwsStub) -> None:
    sqs = make("sqs")

    async def main(number: int) -> str:
        await crowd.meet()
        await call(sqs.list_queues, QueueNamePrefix=f"{number}-")
        return own_trace()

    crowd = TaskCrowd()
    traces = crowd.serve(main)

    assert sent(stub) == {
        f'{{"QueueNamePrefix": "{number}-"}}': traces[number] for number in range(COUNT)
    }


def test_the_threads_of_transfers_send_the_header_of_who_started_them(
    make: Callable[..., Any], stub: AwsStub
) -> None:
    s3 = make("s3")
    parts = TransferConfig(
        multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=4
    )
    crowd = ThreadCrowd(4)

    def handle(number: int) -> str:
        crowd.meet()
        s3.upload_fileobj(io.BytesIO(bytes(11 << 20)), "bucket", f"key{number}", Config=parts)
        return own_trace()

    traces = crowd.serve(handle)

    for number in range(4):
        own = [call for call in stub.calls if f"/key{number}?" in call.path]
        assert [call.method for call in own].count("PUT") == 3
        assert {call.headers[HEADER] for call in own} == {traces[number]}


def test_a_thread_that_was_spawned_sends_the_header_of_its_request(
    make: Callable[..., Any], stub: AwsStub
) -> None:
    sqs = make("sqs")
    in_request("Root=1;Parent=2", lambda: spawn_thread(sqs.list_queues).join(PATIENCE_S))

    assert [call.headers[HEADER] for call in stub.calls] == ["Root=1;Parent=2"]


def test_the_header_is_quoted_as_botocore_does(make: Callable[..., Any], stub: AwsStub) -> None:
    odd = 'Root=1-ü;Self="a b",x:{[+&]}\n%/'
    in_request(odd, make("sqs").list_queues)

    assert stub.calls[0].headers[HEADER] == quote(odd, safe="-=;:+&[]{}\"',")


def test_outside_requests_the_environment_says_what_is_sent(
    make: Callable[..., Any], stub: AwsStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs = make("sqs")
    sqs.list_queues()
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=of the environment")
    sqs.list_queues()
    in_request("Root=own", sqs.list_queues)
    in_request(None, sqs.list_queues)

    assert [call.headers[HEADER] for call in stub.calls] == [
        None,
        "Root=of%20the%20environment",
        "Root=own",
        None,
    ]


def test_nothing_is_sent_where_this_is_no_function(
    make: Callable[..., Any], stub: AwsStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME")
    in_request("Root=1", make("sqs").list_queues)

    assert stub.calls[0].headers[HEADER] is None


def test_a_header_that_is_there_stays() -> None:
    params = {"headers": {HEADER: "finer"}}
    in_request("Root=1", lambda: botocore.handlers.add_recursion_detection_header(params))

    assert params["headers"] == {HEADER: "finer"}


def test_clients_that_were_made_before_are_changed_too(stub: AwsStub) -> None:
    """botocore notes its functions in each session that is made."""

    def add_recursion_detection_header(params: Any, **kwargs: Any) -> None:
        params["headers"][HEADER] = "from the environment"

    noted = add_recursion_detection_header
    module = ModuleType("botocore.handlers")
    module.add_recursion_detection_header = noted  # type: ignore[attr-defined]
    swaps = Swaps()
    before = list(headers._as_before)
    try:
        headers.follow_requests(module, swaps)
        swaps.carry_out()
        mine: dict[str, Any] = {"headers": {}}
        in_request("Root=1", lambda: noted(mine))
        nobodys: dict[str, Any] = {"headers": {}}
        noted(nobodys)
    finally:
        headers._as_before[:] = before

    assert mine["headers"] == {HEADER: "Root=1"}
    assert nobodys["headers"] == {HEADER: "from the environment"}


def test_clients_of_user_code_send_it_as_well(stub: AwsStub) -> None:
    client = boto3.session.Session().client("sqs", region_name="eu-west-1", endpoint_url=stub.url)
    in_request("Root=1", client.list_queues)
    client.close()

    assert stub.calls[0].headers[HEADER] == "Root=1"


def test_tasks_of_trio(make: Callable[..., Any], stub: AwsStub) -> None:
    pytest.importorskip("trio")
    sqs = make("sqs")

    async def one(number: int) -> None:
        request = Request(Invocation(request_id="r", trace_id=f"Root={number}"))
        with context.serving(request):
            await call(sqs.list_queues, QueueNamePrefix=f"{number}")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(one, number)

    anyio.run(main, backend="trio")

    assert sent(stub) == {
        f'{{"QueueNamePrefix": "{number}"}}': f"Root={number}" for number in range(5)
    }
