"""Scripted faults: what the runtime sees, and what becomes of the invocation."""

from __future__ import annotations

import asyncio

import pytest

from lmi_runtime.emulator import Emulator, EmulatorOptions, Fault, FaultKind
from lmi_runtime.emulator.http import Exchange
from lmi_runtime.emulator.runtime_api import FaultyEndpoint
from tests.unit.emulator.runtime_client import Client, Reply

pytestmark = pytest.mark.anyio

HEAD = "POST /2018-06-01/runtime/invocation/r/{} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"


async def deliver(emulator: Emulator, client: Client) -> tuple[Reply, asyncio.Task[object]]:
    await client.poll()
    await emulator.wait_ready()
    call = asyncio.create_task(emulator.invoke(b'{"number": 42}', {"X-Amzn-RequestId": "r"}))
    event = await client.receive()
    assert event is not None
    return event, call


@pytest.mark.parametrize("status", [204, 403, 500])
async def test_poll_is_answered_with_a_status(status: int) -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        emulator.faults.add("next", Fault(FaultKind.REPLY, status), times=2)
        for _ in range(2):
            await client.poll()
            reply = await client.receive()
            assert reply is not None and reply.status == status
        await client.poll()
        await emulator.wait_ready()

        assert emulator.faults.pending == 0
        assert emulator.statistics().waiting == 1


async def test_poll_sees_the_end_of_the_connection() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        emulator.faults.add("next", Fault(FaultKind.HANG_UP))
        await client.poll()

        assert await client.receive() is None
        assert emulator.statistics().phase == "INIT"


async def test_fault_may_come_later() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        emulator.faults.add("init_error", Fault(FaultKind.REPLY, 500), after=1)
        statuses = []
        for _ in range(3):
            await client.send("POST", "/2018-06-01/runtime/init/error")
            reply = await client.receive()
            statuses.append(reply and reply.status)

        assert statuses == [202, 500, 403]


async def test_delayed_poll_joins_the_queue_late(monkeypatch: pytest.MonkeyPatch) -> None:
    late = FaultyEndpoint._serve_late

    def when_another_waits(endpoint: FaultyEndpoint, exchange: Exchange) -> None:
        if endpoint.host.environment.statistics().waiting:
            late(endpoint, exchange)
        else:
            asyncio.get_running_loop().call_later(0.001, when_another_waits, endpoint, exchange)

    monkeypatch.setattr(FaultyEndpoint, "_serve_late", when_another_waits)
    async with Emulator() as emulator, Client(emulator.runtime_api) as slow:
        emulator.faults.add("next", Fault(FaultKind.DELAY, delay_s=0.001))
        await slow.poll()
        async with Client(emulator.runtime_api) as quick:
            await quick.poll()
            await emulator.wait_ready(polls=2)
            call = asyncio.create_task(emulator.invoke(b"{}"))
            assert await quick.receive() is not None
            assert emulator.statistics().waiting == 1
            call.cancel()


async def test_corrupt_event_is_half_an_event_and_an_error_object() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        emulator.faults.add("next", Fault(FaultKind.CORRUPT_EVENT))
        event, call = await deliver(emulator, client)

        assert event.status == 200
        assert event.body.startswith(b'{"numbe')
        assert event.body.endswith(b'"errorType":"InternalServerError"}\n')
        assert (await call).error_type == "Runtime.Unknown"  # type: ignore[attr-defined]


async def test_redelivered_event_is_the_same_event() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        emulator.faults.add("next", Fault(FaultKind.REDELIVER), after=1)
        first, call = await deliver(emulator, client)
        await client.poll()
        second = await client.receive()

        assert second is not None
        assert (second.body, dict(second.headers)) == (first.body, dict(first.headers))
        call.cancel()


@pytest.mark.parametrize("what", ["response", "error"])
async def test_invocation_times_out_just_before_the_post(what: str) -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        emulator.faults.add(what, Fault(FaultKind.TIME_OUT_FIRST))  # type: ignore[arg-type]
        event, call = await deliver(emulator, client)
        await client.post(what, event)
        reply = await client.receive()

        assert reply is not None and reply.status == 410
        assert (await call).error_type == "Sandbox.Timedout"  # type: ignore[attr-defined]
        emulator.assert_clean()


@pytest.mark.parametrize("what", ["response", "error"])
async def test_dropped_reply_has_settled_the_invocation_and_a_retry_is_harmless(what: str) -> None:
    async with Emulator() as emulator:
        emulator.faults.add(what, Fault(FaultKind.DROP_REPLY))  # type: ignore[arg-type]
        async with Client(emulator.runtime_api) as client:
            event, call = await deliver(emulator, client)
            await client.post(what, event, b"settled")
            assert await client.receive() is None
            assert (await call).body == b"settled"  # type: ignore[attr-defined]
        async with Client(emulator.runtime_api) as again:
            await again.post(what, event, b"settled")
            reply = await again.receive()

        assert reply is not None and reply.status == 400
        emulator.assert_clean()


async def test_swallowed_response_leaves_the_invocation_open() -> None:
    async with Emulator() as emulator:
        emulator.faults.add("response", Fault(FaultKind.HANG_UP))
        async with Client(emulator.runtime_api) as client:
            event, call = await deliver(emulator, client)
            await client.post("response", event, b"lost")
            assert await client.receive() is None
        async with Client(emulator.runtime_api) as again:
            await again.post("response", event, b"second try")
            reply = await again.receive()

        assert reply is not None and reply.status == 202
        assert (await call).body == b"second try"  # type: ignore[attr-defined]
        emulator.assert_clean()


async def test_upload_is_reset() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        emulator.faults.add("response", Fault(FaultKind.RESET_UPLOAD))
        event, call = await deliver(emulator, client)
        client.writer.write(HEAD.format("response").encode())

        with pytest.raises(ConnectionResetError):
            await client.reader.readexactly(1)
        assert event.status == 200
        call.cancel()


async def test_early_413_comes_before_the_body_and_closes() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        emulator.faults.add("response", Fault(FaultKind.REPLY_EARLY, 413))
        client.writer.write(HEAD.format("response").encode())
        reply = await client.receive()

        assert reply is not None and reply.status == 413
        assert reply.headers["connection"] == "close"
        assert await client.reader.read() == b""


async def test_lenient_emulator_reports_no_violations() -> None:
    options = EmulatorOptions(max_concurrency=1, strict=False)
    async with Emulator(options) as emulator:
        async with Client(emulator.runtime_api) as one, Client(emulator.runtime_api) as two:
            await one.poll()
            await two.poll()
            await emulator.wait_ready(polls=2)
        assert emulator.violations == ()


async def test_strict_emulator_lists_violations() -> None:
    async with Emulator(EmulatorOptions(max_concurrency=1)) as emulator:
        async with Client(emulator.runtime_api) as one, Client(emulator.runtime_api) as two:
            await one.poll()
            await two.poll()
            await emulator.wait_ready(polls=2)
        await emulator.wait_until(lambda now: now.ghosts == 2)

        with pytest.raises(AssertionError, match=r"too-many-polls(.|\n)*abandoned-poll"):
            emulator.assert_clean()
