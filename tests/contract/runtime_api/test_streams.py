"""Streamed responses: framing, trailers, back-pressure, and every way they end."""

from __future__ import annotations

import base64
import json
import threading

import anyio
import pytest

from lmi_runtime.model import (
    MAX_RESPONSE_BYTES,
    Failure,
    Invocation,
    PostResult,
    PostVerdict,
    Streaming,
)
from tests.contract.runtime_api.conftest import OpenApi
from tests.contract.runtime_api.stub import ACCEPTED, Act, End, StubServer, answer, error

pytestmark = pytest.mark.anyio

INVOCATION = Invocation(request_id="r-1", invocation_id="i-1")
OK = answer(202, ACCEPTED)
FAILURE = Failure("Function.ValueError", "ValueError", "no", ("frame",))


async def _nothing() -> object:
    return
    yield b""


HEAD = Streaming(_nothing(), "text/event-stream")  # type: ignore[arg-type]


async def test_a_stream_is_uploaded_in_chunks(open_api: OpenApi) -> None:
    """With the headers that make it a stream; an empty chunk must not end it."""
    with StubServer([OK]) as server:
        async with open_api(server.address) as api, api.stream(INVOCATION, HEAD) as upload:
            await upload.write(b"one ")
            await upload.write(b"")
            await upload.write(b"two")
            result = await upload.finish()
            assert await upload.finish() is result

    assert result.verdict is PostVerdict.ACCEPTED
    (request,) = server.requests
    assert request.path == "/2018-06-01/runtime/invocation/r-1/response"
    assert (request.body, request.whole, request.trailers) == (b"one two", True, {})
    assert request.headers == {
        "host": server.address,
        "content-type": "text/event-stream",
        "lambda-runtime-function-response-mode": "streaming",
        "transfer-encoding": "chunked",
        "trailer": "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
        "lambda-runtime-invocation-id": "i-1",
    }


async def test_a_stream_that_fails_says_so_in_its_trailers(open_api: OpenApi) -> None:
    """The status has been sent, so this is the only place left."""
    with StubServer([OK]) as server:
        async with open_api(server.address) as api, api.stream(INVOCATION, HEAD) as upload:
            await upload.write(b"half")
            result = await upload.fail(FAILURE)

    assert result.verdict is PostVerdict.ACCEPTED
    (request,) = server.requests
    assert (request.body, request.whole) == (b"half", True)
    assert request.trailers["lambda-runtime-function-error-type"] == "Function.ValueError"
    body = base64.b64decode(request.trailers["lambda-runtime-function-error-body"])
    assert json.loads(body)["errorMessage"] == "no"


async def test_every_stream_has_a_connection_of_its_own(open_api: OpenApi) -> None:
    """Two streams advance together, and no connection outlives its stream."""
    with StubServer([OK, OK]) as server:
        async with open_api(server.address) as api:
            async with api.stream(INVOCATION, HEAD) as one, api.stream(INVOCATION, HEAD) as two:
                for upload in (one, two, one, two):
                    await upload.write(b"x")
                await two.finish()
                await one.finish()
            for _ in range(2):
                await anyio.to_thread.run_sync(server.closed.get, True, 5)

    assert {request.connection for request in server.requests} == {0, 1}


@pytest.mark.parametrize("how", ["leave", "raise", "cancel"])
async def test_a_stream_left_without_an_end_is_truncated(open_api: OpenApi, how: str) -> None:
    """The platform must not take the part for the whole."""
    with StubServer([OK]) as server:
        async with open_api(server.address) as api:
            with anyio.CancelScope() as scope:
                try:
                    async with api.stream(INVOCATION, HEAD) as upload:
                        await upload.write(b"half")
                        if how == "raise":
                            raise ZeroDivisionError  # noqa: TRY301 - user code does
                        if how == "cancel":
                            scope.cancel()
                            await anyio.sleep_forever()
                except ZeroDivisionError:
                    pass
            await anyio.to_thread.run_sync(server.closed.get, True, 5)

    (request,) = server.requests
    assert (request.body, request.whole) == (b"half", False)


async def test_an_answer_that_comes_early_ends_the_upload(open_api: OpenApi) -> None:
    """A deadline that passed midway: the rest would be sent for nothing."""
    act = Act(error(410, "InvokeTimeout", {"Connection": "close"}), End.CLOSE, read_body=False)
    with StubServer([act]) as server:
        async with open_api(server.address) as api, api.stream(INVOCATION, HEAD) as upload:
            await anyio.to_thread.run_sync(server.closed.get, True, 5)
            for _ in range(20):
                await upload.write(b"x")
            result = await upload.finish()

    # A server that hangs up with unread data may take its answer back with it.
    assert result.verdict in (PostVerdict.STALE, PostVerdict.LOST)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("size_bytes", "verdict"),
    [(MAX_RESPONSE_BYTES + 1, PostVerdict.TOO_LARGE), (1, PostVerdict.LOST)],
)
async def test_hanging_up_on_a_large_upload_means_too_large(
    open_api: OpenApi, size_bytes: int, verdict: PostVerdict
) -> None:
    """Who refuses a body for its size often resets before the refusal can be read."""
    with StubServer([Act(end=End.CLOSE)]) as server:
        async with open_api(server.address) as api, api.stream(INVOCATION, HEAD) as upload:
            await upload.write(b"x" * size_bytes)
            result = await upload.finish()

    assert result.verdict is verdict


async def test_a_slow_reader_slows_the_writer(open_api: OpenApi) -> None:
    """What user code makes is not piled up in memory."""
    release = threading.Event()
    chunk = b"x" * 1_000_000
    written = 0
    with StubServer([Act(OK, before=release)]) as server:
        async with open_api(server.address) as api, api.stream(INVOCATION, HEAD) as upload:
            async with anyio.create_task_group() as tasks:

                async def write_all() -> None:
                    nonlocal written
                    for _ in range(24):
                        await upload.write(chunk)
                        written += 1

                tasks.start_soon(write_all)
                await anyio.to_thread.run_sync(server.arrived.get, True, 5)
                await anyio.wait_all_tasks_blocked()
                assert written < 24
                release.set()
            assert written == 24
            await upload.finish()

    assert server.requests[0].body == chunk * 24


async def test_a_stream_without_a_connection_is_lost_but_not_an_exception(
    open_api: OpenApi, unused_address: str
) -> None:
    """User code is not to blame, and must not notice."""
    results: list[PostResult] = []
    async with open_api(unused_address) as api:
        for end in ("finish", "fail"):
            async with api.stream(INVOCATION, HEAD) as upload:
                await upload.write(b"x")
                ended = upload.finish() if end == "finish" else upload.fail(FAILURE)
                results.append(await ended)

    assert [result.verdict for result in results] == [PostVerdict.LOST] * 2
