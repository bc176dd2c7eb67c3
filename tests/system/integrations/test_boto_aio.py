"""aiobotocore's clients against a server on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from lmi_runtime import _sync, context
from lmi_runtime.context import Request
from lmi_runtime.errors import DeadlineExceeded
from lmi_runtime.model import Invocation
from lmi_runtime.pools import registry
from tests.support.aws_environ import be_nobody
from tests.support.aws_stub import AwsStub
from tests.support.crowd import COUNT, TaskCrowd

pytest.importorskip("aiobotocore")

from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
from aiobotocore.session import AioSession  # type: ignore[import-untyped]
from botocore.exceptions import ReadTimeoutError  # type: ignore[import-untyped]

from lmi_runtime.integrations.boto import aio
from lmi_runtime.integrations.safety import make_safe

pytestmark = pytest.mark.system

REGION = "eu-west-1"


@pytest.fixture
def stub() -> Iterator[AwsStub]:
    with AwsStub() as server:
        yield server


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> None:
    make_safe()
    be_nobody(monkeypatch)
    monkeypatch.setattr(aio, "_makers", _sync.ProcessWide(dict))


@asynccontextmanager
async def closing() -> AsyncIterator[None]:
    """As the worker does when it stops."""
    try:
        yield
    finally:
        await registry.close_everything(5.0)


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def body() -> Any:
        async with closing():
            return await main()

    return asyncio.run(body())


def test_tasks_share_a_client_and_send_their_own_headers(
    stub: AwsStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = AioSession._create_client

    async def making(self: AioSession, service: str, **options: Any) -> Any:
        made.append(service)
        return await make(self, service, **options)

    monkeypatch.setattr(AioSession, "_create_client", making)
    crowd = TaskCrowd()
    ended: list[int] = []

    async def handle(number: int) -> str | None:
        await crowd.meet()
        sqs = await aio.client("sqs", region=REGION, endpoint_url=stub.url)
        await sqs.list_queues(QueueNamePrefix=f"{number}-")
        ended.append(number)
        if len(ended) == COUNT:
            await registry.close_everything(5.0)
        return context.current().trace_id

    traces = crowd.serve(handle)

    assert made == ["sqs"]
    assert {call.body.decode(): call.headers["X-Amzn-Trace-Id"] for call in stub.calls} == {
        f'{{"QueueNamePrefix": "{number}-"}}': traces[number] for number in range(COUNT)
    }


def test_a_call_ends_with_its_request_and_so_do_its_retries(stub: AwsStub) -> None:
    stub.silent = True
    config = AioConfig(read_timeout=0.1, retries={"mode": "standard", "max_attempts": 50})

    async def main() -> float:
        sqs = await aio.client("sqs", region=REGION, endpoint_url=stub.url, config=config)
        invocation = Invocation(request_id="r", deadline_s=_sync.monotonic() + 0.4)
        started_s = time.monotonic()
        with context.serving(Request(invocation)), pytest.raises(DeadlineExceeded):
            await sqs.list_queues()
        return time.monotonic() - started_s

    assert 0.39 <= run(main) < 30.0


def test_after_the_deadline_nothing_is_sent(stub: AwsStub) -> None:
    async def main() -> None:
        sqs = await aio.client("sqs", region=REGION, endpoint_url=stub.url)
        invocation = Invocation(request_id="r", deadline_s=_sync.monotonic() - 1)
        with (
            context.serving(Request(invocation)),
            pytest.raises(DeadlineExceeded, match=r"before sqs\.ListQueues was answered"),
        ):
            await sqs.list_queues()

    run(main)

    assert stub.calls == []


def test_outside_requests_the_clients_limits_hold(stub: AwsStub) -> None:
    stub.silent = True
    config = AioConfig(read_timeout=0.1, retries={"total_max_attempts": 1})

    async def main() -> None:
        sqs = await aio.client("sqs", region=REGION, endpoint_url=stub.url, config=config)
        with pytest.raises(ReadTimeoutError):
            await sqs.list_queues()

    run(main)


def test_equal_arguments_give_the_same_client_and_others_another(stub: AwsStub) -> None:
    async def main() -> None:
        async def made(**options: Any) -> Any:
            return await aio.client("sqs", region=REGION, endpoint_url=stub.url, **options)

        one = await made(config=AioConfig(read_timeout=5))
        assert one is await made(config=AioConfig(read_timeout=5))
        assert one is not await made()
        assert one is not await made(config=AioConfig(read_timeout=5), session=AioSession())
        assert one.meta.config.read_timeout == 5

    run(main)


def test_a_client_is_closed_when_the_worker_stops(stub: AwsStub) -> None:
    async def main() -> Any:
        sqs = await aio.client("sqs", region=REGION, endpoint_url=stub.url)
        await sqs.list_queues()
        assert sqs._endpoint.http_session._sessions
        await registry.close_everything(5.0)
        return sqs._endpoint.http_session._sessions

    assert not run(main)


def test_each_loop_has_a_client_of_its_own(stub: AwsStub) -> None:
    made: list[Any] = []

    async def main() -> None:
        sqs = await aio.client("sqs", region=REGION, endpoint_url=stub.url)
        await sqs.list_queues()
        made.append(sqs)

    for _ in range(2):
        anyio.run(main)

    assert made[0] is not made[1]
