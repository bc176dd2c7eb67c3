"""What `respond` and `fail` send, and what they make of the answer."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator

import anyio
import pytest

from lmi_runtime.model import (
    MAX_RESPONSE_BYTES,
    Failure,
    Invocation,
    PostVerdict,
    Streaming,
    Success,
)
from lmi_runtime.rapi import HttpRuntimeApi
from lmi_runtime.rapi.anyio_transport import connect_anyio
from lmi_runtime.rapi.transport import ConnectFailed, Connection
from tests.contract.runtime_api.conftest import EARLY_READERS, Leg, OpenApi
from tests.contract.runtime_api.stub import ACCEPTED, Act, End, StubServer, answer, error, event

pytestmark = pytest.mark.anyio

INVOCATION = Invocation(request_id="r-1", invocation_id="i-1")
OK = answer(202, ACCEPTED, {"Content-Type": "application/json"})
FAILURE = Failure("Function.ValueError", "ValueError", "no", ("frame 1", "frame 2"))


async def test_a_response_is_posted_with_what_it_echoes(open_api: OpenApi) -> None:
    """The delivery's id and the content type; no response mode, which would be refused."""
    with StubServer([OK]) as server:
        async with open_api(server.address) as api:
            result = await api.respond(INVOCATION, Success(b"\xff\x00", "image/png"))

    assert result.verdict is PostVerdict.ACCEPTED
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/2018-06-01/runtime/invocation/r-1/response")
    assert request.body == b"\xff\x00"
    assert request.headers == {
        "host": server.address,
        "content-type": "image/png",
        "lambda-runtime-invocation-id": "i-1",
        "content-length": "2",
    }


async def test_an_error_is_posted_with_its_type_in_header_and_body(open_api: OpenApi) -> None:
    """The platform reads the header, the caller reads the body."""
    with StubServer([OK]) as server:
        async with open_api(server.address) as api:
            assert (await api.fail(INVOCATION, FAILURE)).verdict is PostVerdict.ACCEPTED

    (request,) = server.requests
    assert request.path == "/2018-06-01/runtime/invocation/r-1/error"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["lambda-runtime-function-error-type"] == "Function.ValueError"
    assert request.headers["lambda-runtime-invocation-id"] == "i-1"
    assert json.loads(request.body) == {
        "errorMessage": "no",
        "errorType": "ValueError",
        "requestId": "r-1",
        "stackTrace": ["frame 1", "frame 2"],
    }


@pytest.mark.parametrize("end", ["respond", "fail"])
@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (error(400, "InvalidRequestID"), PostVerdict.STALE),
        (error(410, "InvokeTimeout"), PostVerdict.STALE),
        (answer(410), PostVerdict.STALE),
        (error(400, "InvalidFunctionResponseMode"), PostVerdict.LOST),
        (error(400, "TruncatedHTTPRequest"), PostVerdict.LOST),
        (answer(400, b"[" * 100_000), PostVerdict.LOST),
        (answer(400, b'{"errorType": 5}'), PostVerdict.LOST),
        (answer(404, b"404 page not found\n"), PostVerdict.LOST),
        (error(500, "InternalServerError"), PostVerdict.LOST),
        (b"not http at all\r\n\r\n", PostVerdict.LOST),
    ],
)
async def test_a_refused_answer_is_logged_and_never_posted_again(
    open_api: OpenApi,
    end: str,
    said: bytes,
    verdict: PostVerdict,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever the refusal, there is one post, one verdict and one line with the request id."""
    with StubServer([said, OK]) as server:
        async with open_api(server.address) as api:
            if end == "respond":
                result = await api.respond(INVOCATION, Success(b"secret"))
            else:
                result = await api.fail(INVOCATION, FAILURE)

    assert result.verdict is verdict
    assert len(server.requests) == 1
    (record,) = caplog.records
    assert "r-1" in record.getMessage()
    assert "secret" not in record.getMessage()


async def test_a_too_large_response_that_got_through_is_not_followed_by_an_error(
    open_api: OpenApi,
) -> None:
    """The platform has answered the caller already."""
    with StubServer([error(413, "RequestEntityTooLarge", {"Connection": "close"})]) as server:
        async with open_api(server.address) as api:
            result = await api.respond(INVOCATION, Success(b"{}"))

    assert result.verdict is PostVerdict.TOO_LARGE
    assert len(server.requests) == 1


async def test_a_refusal_that_comes_while_sending_is_read(open_api: OpenApi) -> None:
    """A server that has seen enough answers, then stops reading, then hangs up."""
    answered = threading.Event()
    refusal = error(413, "RequestEntityTooLarge", {"Connection": "close"})
    act = Act(refusal, End.HALF_CLOSE, read_body=False, after=answered)
    with StubServer([act]) as server:
        async with open_api(server.address) as api, anyio.create_task_group() as tasks:

            async def let_it_read_on() -> None:
                await anyio.to_thread.run_sync(server.arrived.get, True, 5)
                answered.set()

            tasks.start_soon(let_it_read_on)
            result = await api.respond(INVOCATION, Success(b"x" * MAX_RESPONSE_BYTES))

    assert result.verdict is PostVerdict.TOO_LARGE
    assert len(server.requests) == 1


@pytest.mark.parametrize("leg", EARLY_READERS, indirect=True)
async def test_nothing_is_sent_behind_a_body_that_was_refused_halfway(open_api: OpenApi) -> None:
    """The server may never read the rest, and with it what comes after."""
    never = threading.Event()
    refused = Act(error(413, "RequestEntityTooLarge"), read_body=False, after=never)
    with StubServer([refused, OK]) as server:
        async with open_api(server.address) as api:
            first = await api.respond(INVOCATION, Success(b"x" * MAX_RESPONSE_BYTES))
            second = await api.respond(INVOCATION, Success(b"{}"))
        never.set()

    assert (first.verdict, second.verdict) == (PostVerdict.TOO_LARGE, PostVerdict.ACCEPTED)
    assert [request.connection for request in server.requests] == [0, 1]


async def test_an_oversized_response_is_reported_instead_of_sent(
    open_api: OpenApi, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be refused anyway, after 6 MiB of upload."""
    with StubServer([OK]) as server:
        async with open_api(server.address) as api:
            result = await api.respond(INVOCATION, Success(b"x" * (MAX_RESPONSE_BYTES + 1)))

    assert result.verdict is PostVerdict.TOO_LARGE
    (request,) = server.requests
    assert request.path.endswith("/r-1/error")
    sent_type = request.headers["lambda-runtime-function-error-type"]
    assert sent_type == "Function.ResponseSizeTooLarge"
    assert "r-1" in caplog.text


async def test_the_largest_response_is_sent(open_api: OpenApi) -> None:
    """The limit itself is within the limit."""
    body = b"x" * MAX_RESPONSE_BYTES
    with StubServer([OK]) as server:
        async with open_api(server.address) as api:
            result = await api.respond(INVOCATION, Success(body))

    assert result.verdict is PostVerdict.ACCEPTED
    assert server.requests[0].body == body


@pytest.mark.parametrize("second", [PostVerdict.ACCEPTED, PostVerdict.TOO_LARGE])
async def test_an_error_refused_for_its_size_is_posted_short_once(
    open_api: OpenApi, second: PostVerdict
) -> None:
    """Of all refusals only this one leaves the invocation open."""
    refusal = error(413, "RequestEntityTooLarge", {"Connection": "close"})
    acts = [refusal, OK if second is PostVerdict.ACCEPTED else refusal, OK]
    with StubServer(acts) as server:
        async with open_api(server.address) as api:
            result = await api.fail(INVOCATION, FAILURE)

    assert result.verdict is second
    first, short = server.requests
    assert short.path == first.path
    assert len(short.body) < 300
    assert json.loads(short.body)["errorType"] == "ValueError"


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
async def test_a_new_connection_that_dies_is_not_tried_again(open_api: OpenApi, end: End) -> None:
    """Nobody knows whether the answer was taken; the platform drops connections on purpose."""
    with StubServer([Act(end=end), OK]) as server:
        async with open_api(server.address) as api:
            result = await api.respond(INVOCATION, Success(b"{}"))

    assert result.verdict is PostVerdict.LOST
    assert len(server.requests) == 1


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
async def test_a_kept_connection_that_died_silently_is_tried_again_once(
    open_api: OpenApi, end: End
) -> None:
    """It may have been dead before the answer was sent."""
    with StubServer([OK, Act(end=end), OK]) as server:
        async with open_api(server.address) as api:
            await api.respond(INVOCATION, Success(b"1"))
            result = await api.respond(INVOCATION, Success(b"2"))
        assert server.connections == 2

    assert result.verdict is PostVerdict.ACCEPTED
    assert [request.body for request in server.requests] == [b"1", b"2", b"2"]


async def test_a_kept_connection_that_died_in_mid_answer_is_not_tried_again(
    open_api: OpenApi,
) -> None:
    """The answer has arrived; only what was said to it is unknown."""
    with StubServer([OK, Act(OK[:20], End.CLOSE), OK]) as server:
        async with open_api(server.address) as api:
            await api.respond(INVOCATION, Success(b"1"))
            result = await api.respond(INVOCATION, Success(b"2"))

    assert result.verdict is PostVerdict.LOST
    assert len(server.requests) == 2


async def test_a_refused_connection_is_a_lost_answer(
    open_api: OpenApi, unused_address: str
) -> None:
    """It is a verdict, not an exception."""
    async with open_api(unused_address) as api:
        result = await api.respond(INVOCATION, Success(b"{}"))

    assert result.verdict is PostVerdict.LOST


async def test_a_connection_that_was_refused_is_tried_again_once(leg: Leg) -> None:
    """Nothing was sent, so nothing can be sent twice."""
    tries = 0

    async def connect(host: str, port: int) -> Connection:
        nonlocal tries
        tries += 1
        if tries % 2:
            raise ConnectFailed("not yet")
        return await (leg.connect or connect_anyio)(host, port)

    with StubServer([Act(OK, End.CLOSE), Act(OK, End.CLOSE)]) as server:
        api = HttpRuntimeApi(server.address, connect=connect)
        buffered = await api.respond(INVOCATION, Success(b"{}"))
        async with api.stream(INVOCATION, Streaming(_no_chunks())) as upload:
            streamed = await upload.finish()
        await api.aclose()

    assert buffered.verdict is streamed.verdict is PostVerdict.ACCEPTED


async def _no_chunks() -> AsyncIterator[bytes]:
    return
    yield b""


async def test_a_response_that_ends_with_the_stream_is_whole(open_api: OpenApi) -> None:
    """HTTP allows it, and then the connection cannot be used again."""
    said = b"HTTP/1.1 202 Accepted\r\n\r\n" + ACCEPTED
    with StubServer([Act(said, End.CLOSE), OK]) as server:
        async with open_api(server.address) as api:
            first = await api.respond(INVOCATION, Success(b"{}"))
            second = await api.respond(INVOCATION, Success(b"{}"))
        assert server.connections == 2

    assert first.verdict is second.verdict is PostVerdict.ACCEPTED


async def test_answers_do_not_wait_behind_polls(open_api: OpenApi) -> None:
    """Polls and answers have connections of their own."""
    with StubServer([event(), Act(end=End.HOLD), OK]) as server:
        async with open_api(server.address) as api, anyio.create_task_group() as tasks:
            invocation = await api.next()
            tasks.start_soon(api.next)
            for _ in range(2):
                await anyio.to_thread.run_sync(server.arrived.get, True, 5)
            result = await api.respond(invocation, Success(b"{}"))
            tasks.cancel_scope.cancel()

    assert result.verdict is PostVerdict.ACCEPTED
    assert [request.connection for request in server.requests] == [0, 0, 1]


async def test_the_connection_used_last_is_used_next(open_api: OpenApi) -> None:
    """The others idle, and the platform may close them."""
    gates = [threading.Event(), threading.Event()]
    with StubServer([Act(OK, before=gates[0]), Act(OK, before=gates[1]), OK]) as server:
        async with open_api(server.address) as api:
            done = [anyio.Event(), anyio.Event()]

            async def respond(number: int) -> None:
                await api.respond(INVOCATION, Success(b"{}"))
                done[number].set()

            async with anyio.create_task_group() as tasks:
                for number in range(2):
                    tasks.start_soon(respond, number)
                    await anyio.to_thread.run_sync(server.arrived.get, True, 5)
                for number in (1, 0):
                    gates[number].set()
                    await done[number].wait()
            await api.respond(INVOCATION, Success(b"{}"))

    assert [request.connection for request in server.requests] == [0, 1, 0]


async def test_ids_cannot_leave_their_place_in_the_path_or_the_header(open_api: OpenApi) -> None:
    """They come from outside."""
    odd = Invocation(request_id="a/../b?c#d e\xe9", invocation_id="i\r\nX-Evil: 1")
    evil = Failure("Function.A\r\nX-Evil: 1", "A", "no", xray_cause=b"{}\r\nX-Evil: 1")
    with StubServer([OK, OK]) as server:
        async with open_api(server.address) as api:
            await api.respond(odd, Success(b"{}", "text/plain\r\nX-Evil: 1"))
            await api.fail(odd, evil)

    response, failure = server.requests
    assert response.path == "/2018-06-01/runtime/invocation/a%2F..%2Fb%3Fc%23d%20e%E9/response"
    assert "x-evil" not in response.headers | failure.headers
    assert "lambda-runtime-function-xray-error-cause" not in failure.headers
