"""Calls that block, from tasks."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.from_thread
import boto3  # type: ignore[import-untyped]
import pytest
from botocore.config import Config  # type: ignore[import-untyped]

from lmi_runtime import _sync, context
from lmi_runtime.context import Request
from lmi_runtime.errors import DeadlineExceeded
from lmi_runtime.integrations.boto import call
from lmi_runtime.model import Invocation
from tests.support.aws_stub import AwsStub
from tests.support.patience import PATIENCE_S

pytest.importorskip("trio")


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Runs a task as a request that has so many seconds left."""

    def run(main: Callable[[], Awaitable[Any]], seconds: float = PATIENCE_S) -> Any:
        async def serve() -> Any:
            invocation = Invocation(request_id="r", deadline_s=_sync.monotonic() + seconds)
            with context.serving(Request(invocation)):
                return await main()

        return anyio.run(serve, backend=request.param)

    return run


def test_it_returns_and_raises_what_the_call_does(
    run: Callable[..., Any], make: Callable[..., Any]
) -> None:
    sqs = make("sqs")

    async def main() -> None:
        answer = await call(sqs.list_queues, MaxResults=5)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
        with pytest.raises(sqs.exceptions.ClientError):
            await call(sqs.delete_queue, QueueUrl="http://127.0.0.1:1/")

    sqs.meta.events.register_first(
        "before-send.sqs.DeleteQueue", lambda request, **_: _refusal(request)
    )
    run(main)


def _refusal(request: Any) -> Any:
    from botocore.awsrequest import AWSResponse  # type: ignore[import-untyped]

    class Body:
        def stream(self) -> list[bytes]:
            return [b"{}"]

    return AWSResponse(request.url, 400, {}, Body())


def test_the_thread_serves_the_request(run: Callable[..., Any]) -> None:
    async def main() -> None:
        mine = threading.get_ident()
        request, thread = await call(lambda: (context.current(), threading.get_ident()))
        assert request is context.current()
        assert thread != mine

    run(main)


def test_the_task_goes_on_at_the_deadline(run: Callable[..., Any]) -> None:
    """Whatever the thread does."""
    let_go = threading.Event()
    ended: list[bool] = []

    def block() -> None:
        ended.append(let_go.wait(PATIENCE_S))

    async def main() -> None:
        with pytest.raises(DeadlineExceeded, match=r"before .*block was answered"):
            await call(block)
        assert ended == []
        let_go.set()

    run(main, 0.1)


def test_the_thread_ends_at_the_deadline_too(
    run: Callable[..., Any], stub: AwsStub, make: Callable[..., Any]
) -> None:
    """Of a client that was made elsewhere, and has been used already."""
    foreign = boto3.session.Session().client("sqs", region_name="eu-west-1", endpoint_url=stub.url)
    foreign.list_queues()
    begun, ended = threading.Event(), threading.Event()
    foreign.meta.events.register("before-call.sqs", lambda **_: begun.set())
    foreign.meta.events.register("after-call-error.sqs", lambda **_: ended.set())
    stub.silent = True

    async def main() -> None:
        with pytest.raises(DeadlineExceeded):
            await call(foreign.list_queues)

    run(main, 0.2)

    # On a machine that stood still until the deadline, nothing was begun.
    assert not begun.is_set() or ended.wait(PATIENCE_S / 2)
    foreign.close()


def test_nothing_is_called_after_the_deadline(run: Callable[..., Any]) -> None:
    called: list[int] = []

    async def main() -> None:
        with pytest.raises(DeadlineExceeded):
            await call(called.append, 1)

    run(main, -1)

    assert called == []


def test_a_cancelled_task_goes_on_at_once(run: Callable[..., Any]) -> None:
    let_go = threading.Event()

    async def main() -> None:
        running = anyio.Event()

        def block() -> None:
            anyio.from_thread.run_sync(running.set)
            let_go.wait(PATIENCE_S)

        async with anyio.create_task_group() as group:
            group.start_soon(call, block)
            await running.wait()
            group.cancel_scope.cancel()
        assert not let_go.is_set()
        let_go.set()

    run(main)


def test_what_is_to_be_awaited_is_refused(run: Callable[..., Any]) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="await it"):
            await call(main)

    run(main)


def test_a_client_has_no_more_calls_than_connections(
    run: Callable[..., Any], make: Callable[..., Any]
) -> None:
    sqs = make("sqs", config=Config(max_pool_connections=2))
    lock, both = threading.Lock(), threading.Barrier(2)
    inside, most = 0, 0

    def watch(**_: Any) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        both.wait(PATIENCE_S)  # as many as that there are, though
        with lock:
            inside -= 1

    sqs.meta.events.register("before-send.sqs", watch)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(call, sqs.list_queues)

    run(main)

    assert most == 2


def test_outside_requests_there_is_no_deadline(make: Callable[..., Any]) -> None:
    sqs = make("sqs")

    async def main() -> None:
        assert await call(sqs.list_queues)

    anyio.run(main)
