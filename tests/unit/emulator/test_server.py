"""The server: connections, pipelining, waiting without sleeping, and the in-process call."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.emulator import Clock, Emulator, EmulatorOptions
from lmi_runtime.emulator.encoding import encode_chunks, header_line
from lmi_runtime.emulator.runtime_api import decode_request_id
from tests.unit.emulator.runtime_client import Client, parse

pytestmark = pytest.mark.anyio
PING = b"GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_in_process_call_is_answered() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        serving = asyncio.create_task(client.serve(body=b"[1]"))
        answer = await emulator.invoke(b"{}")
        await serving

        assert (answer.ok, answer.body) == (True, b"[1]")
        emulator.assert_clean()


async def test_cancelled_in_process_call_is_a_caller_that_left() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        call = asyncio.create_task(emulator.invoke(b"{}"))
        await client.poll()
        event = await client.receive()
        call.cancel()
        await asyncio.wait([call])
        assert event is not None
        await client.post("response", event)
        reply = await client.receive()

        assert reply is not None and reply.status == 400


async def test_time_passes_only_on_the_injected_clock() -> None:
    now_s = 0.0
    clock = Clock(monotonic_s=lambda: now_s)
    async with (
        Emulator(EmulatorOptions(timeout_s=900.0), clock=clock) as emulator,
        Client(emulator.runtime_api) as client,
    ):
        call = asyncio.create_task(emulator.invoke(b"{}"))
        await client.poll()
        await client.receive()
        now_s = 899.0
        emulator.expire()
        assert emulator.statistics().running == 1
        now_s = 900.0
        emulator.expire()

        assert (await call).error_type == "Sandbox.Timedout"
        assert emulator.statistics().timed_out == 1


async def test_time_out_comes_by_itself_and_before_a_later_one() -> None:
    async with (
        Emulator(EmulatorOptions(timeout_s=0.01, init_timeout_s=600.0)) as emulator,
        Client(emulator.runtime_api) as client,
    ):
        call = asyncio.create_task(emulator.invoke(b"{}"))
        await client.poll()

        assert (await call).error_type == "Sandbox.Timedout"


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        unknown = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
        client.writer.write(PING + unknown + PING)
        replies = [await client.receive() for _ in range(3)]

        assert [reply and reply.status for reply in replies] == [200, 404, 200]


async def test_requests_behind_a_waiting_poll_wait_in_order() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        await client.poll()
        client.writer.write(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" + PING)
        await emulator.wait_ready()
        call = asyncio.create_task(emulator.invoke(b"{}"))
        bodies = [reply and reply.body for reply in [await client.receive() for _ in range(3)]]

        assert bodies == [b"{}", b"404 page not found\n", b"pong"]
        call.cancel()


async def test_upload_pipelined_behind_another_keeps_its_own_body() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        path = b"/2018-06-01/runtime/invocation/%b/response"
        head = b"POST " + path + b" HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
        calls = []
        async with Client(emulator.runtime_api) as poller:
            for request_id in ("a", "b"):
                await poller.poll()
                await emulator.wait_ready()
                call = emulator.invoke(b"{}", {"X-Amzn-RequestId": request_id})
                calls.append(asyncio.create_task(call))
                await poller.receive()
            client.writer.write(head % (b"a", 5) + b"first" + head % (b"b", 6) + b"second")

            assert [(await call).body for call in calls] == [b"first", b"second"]


@pytest.mark.parametrize("pieces", [1, 7])
async def test_request_may_arrive_in_pieces(pieces: int) -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        for start in range(0, len(PING), pieces):
            client.writer.write(PING[start : start + pieces])
            await client.writer.drain()
        reply = await client.receive()

        assert reply is not None and reply.body == b"pong"


async def test_what_is_not_http_is_400() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        client.writer.write(b"what is this?\r\n\r\n")

        assert (await client.reader.read()).startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_expect_100_continue_is_answered_before_the_body() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        path = "/2018-06-01/runtime/init/error"
        await client.send("POST", path, headers={"Content-Length": "2", "Expect": "100-continue"})
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.writer.write(b"{}")
        reply = await client.receive()

        assert reply is not None and reply.status == 202


async def test_connection_closes_when_the_client_asks_for_it() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        await client.send("GET", "/2018-06-01/ping", headers={"Connection": "close"})

        assert (await client.reader.read()).endswith(b"pong")


async def test_two_emulators_do_not_share_anything() -> None:
    async with Emulator() as one, Emulator() as two:
        assert len({one.runtime_api, two.runtime_api, one.url, two.url}) == 4
        async with Client(one.runtime_api) as client:
            await client.poll()
            await one.wait_ready()

            assert two.statistics().phase == "INIT"


async def test_closing_answers_everybody() -> None:
    emulator = Emulator()
    async with emulator, Client(emulator.runtime_api) as client:
        running = asyncio.create_task(emulator.invoke(b"{}"))
        await client.poll()
        assert await client.receive() is not None
        await client.poll()
        await emulator.wait_ready()
        await emulator.close()

        assert (await running).error_type == "Client.ExecutionEnvironmentShutDown"
        assert await client.receive() is None
        assert (await emulator.invoke(b"{}")).error_type == "Client.ExecutionEnvironmentUnhealthy"


async def test_empty_headers_and_no_invocation_id_as_older_platforms_had_them() -> None:
    options = EmulatorOptions(send_empty_headers=True, legacy_no_invocation_id=True)
    async with Emulator(options) as emulator, Client(emulator.runtime_api) as client:
        call = asyncio.create_task(emulator.invoke(b"{}"))
        await client.poll()
        event = await client.receive()

        assert event is not None
        assert event.headers["lambda-runtime-trace-id"] == ""
        assert "lambda-runtime-invocation-id" not in event.headers
        await client.post("response", event)
        assert (await call).ok
        emulator.assert_clean()


async def test_traces_that_nobody_named_are_made_up_when_asked() -> None:
    seen = []
    for headers in ({}, {}, {"X-Amzn-Trace-Id": "Root=mine"}):
        options = EmulatorOptions(make_up_traces=True)
        async with Emulator(options) as emulator, Client(emulator.runtime_api) as client:
            call = asyncio.create_task(emulator.invoke(b"{}", headers=headers))
            await client.poll()
            event = await client.receive()
            assert event is not None
            seen.append(event.headers["lambda-runtime-trace-id"])
            await client.post("response", event)
            assert (await call).ok

    assert seen[2] == "Root=mine"
    assert seen[0] != seen[1]
    made_up = "Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0"
    assert all(re.fullmatch(made_up, trace) for trace in seen[:2])


@pytest.mark.parametrize(
    ("said", "served"),
    [
        ("", "application/json"),
        ("application/x-www-form-urlencoded", "application/json"),  # what `curl -d` says
        ("application/octet-stream", "application/octet-stream"),
    ],
)
async def test_event_is_json_unless_the_caller_knows_better(said: str, served: str) -> None:
    headers = {"Content-Type": said} if said else {}
    async with Emulator() as emulator, Client(emulator.runtime_api) as client:
        call = asyncio.create_task(emulator.invoke(b"{}", headers=headers))
        await client.poll()
        event = await client.receive()
        assert event is not None
        await client.post("response", event)
        await call

    assert event.headers["content-type"] == served


def test_emulator_that_was_not_entered_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        _ = Emulator().violations


def test_header_value_cannot_start_another_header() -> None:
    assert header_line("A", "b\r\nEvil: 1") == b"A: b  Evil: 1\r\n"


def _chunked_reply(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + encode_chunks(body)


@given(st.binary(max_size=200_000))
def test_chunked_body_is_read_back_whole(body: bytes) -> None:
    assert parse(_chunked_reply(body)).body == body


def _go_examples() -> Iterator[tuple[bytes, bytes]]:
    yield b"plain-id_1.2~3", b"plain-id_1.2~3"
    yield b"r%201%3F", b"r 1?"
    yield b"a%2Fb", b"a%2Fb"
    yield b"a%26b", b"a%26b"
    yield b"%zz", b"%zz"


@pytest.mark.parametrize(("segment", "decoded"), list(_go_examples()))
def test_request_id_is_decoded_as_go_does(segment: bytes, decoded: bytes) -> None:
    assert decode_request_id(segment) == decoded
