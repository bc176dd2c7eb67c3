"""What `next` makes of everything that the Runtime API may say to a poll."""

from __future__ import annotations

import logging
import threading
import time

import anyio
import pytest

from lmi_runtime.errors import RuntimeApiClosed, RuntimeApiUnreachable
from lmi_runtime.model import Success
from lmi_runtime.rapi.backoff import Backoff
from tests.contract.runtime_api.conftest import OpenApi
from tests.contract.runtime_api.stub import ACCEPTED, Act, End, StubServer, answer, error, event

pytestmark = pytest.mark.anyio


async def test_every_header_becomes_a_fact(open_api: OpenApi) -> None:
    """The whole table of headers, on a real connection."""
    deadline_ms = int(time.time() * 1000) + 5000
    said = event(
        b'{"a": 1}',
        "r-1",
        Invocation_Id="i-1",
        Deadline_Ms=str(deadline_ms),
        Invoked_Function_Arn="arn:aws:lambda:eu-west-1:1:function:f",
        Trace_Id="Root=1-a;Parent=b;Sampled=1",
        Client_Context='{"custom": {}}',
        Cognito_Identity='{"cognitoIdentityId": "c"}',
        Aws_Tenant_Id="blue",
    )
    with StubServer([said]) as server:
        async with open_api(server.address) as api:
            invocation = await api.next()

    assert (invocation.request_id, invocation.invocation_id) == ("r-1", "i-1")
    assert invocation.body == b'{"a": 1}'
    assert invocation.content_type == "application/json"
    assert invocation.function_arn == "arn:aws:lambda:eu-west-1:1:function:f"
    assert invocation.deadline_ms == deadline_ms
    assert invocation.deadline_s == pytest.approx(time.monotonic() + 5, abs=2)
    assert invocation.trace_id == "Root=1-a;Parent=b;Sampled=1"
    assert invocation.client_context == '{"custom": {}}'
    assert invocation.cognito_identity == '{"cognitoIdentityId": "c"}'
    assert invocation.tenant_id == "blue"
    (request,) = server.requests
    assert (request.method, request.path) == ("GET", "/2018-06-01/runtime/invocation/next")


@pytest.mark.parametrize("size_bytes", [0, 1, 2049, 6_296_456])
async def test_a_chunked_event_of_any_size_arrives_whole(
    open_api: OpenApi, size_bytes: int
) -> None:
    """Events above 2 KiB come chunked, and no limit is set to them."""
    body = bytes(range(256)) * (size_bytes // 256 + 1)
    body = body[:size_bytes]
    chunks = [body[at : at + 32768] for at in range(0, size_bytes, 32768)]
    said = b"HTTP/1.1 200 OK\r\nlambda-runtime-aws-REQUEST-id: r-1\r\n"
    said += b"Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    said += b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    with StubServer([said]) as server:
        async with open_api(server.address) as api:
            invocation = await api.next()

    assert invocation.body == body
    assert invocation.content_type == "application/octet-stream"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Act(error(500, "InternalServerError")), id="500"),
        pytest.param(Act(error(403, "InvalidStateTransition")), id="403"),
        pytest.param(Act(answer(404, b"404 page not found\n")), id="404"),
        pytest.param(Act(answer(200, b"{}")), id="no-request-id"),
        pytest.param(
            Act(answer(200, b"{}", {"Lambda-Runtime-Aws-Request-Id": ""})), id="empty-request-id"
        ),
        pytest.param(Act(end=End.CLOSE), id="no-status"),
        pytest.param(Act(end=End.RESET), id="reset"),
        pytest.param(Act(b"SSH-2.0-OpenSSH\r\n", End.HOLD), id="not-http"),
        pytest.param(Act(answer(101, headers={"Upgrade": "x"}), End.HOLD), id="upgrade"),
        pytest.param(Act(event(b"x" * 100)[:-1], End.CLOSE), id="cut-off"),
    ],
)
async def test_a_fault_is_logged_once_and_outlived(
    open_api: OpenApi, fault: Act, caplog: pytest.LogCaptureFixture
) -> None:
    """Three faults in a row, then an event: one line when it starts, one when it ends."""
    caplog.set_level(logging.INFO, "lmi_runtime.rapi")
    with StubServer([fault, fault, fault, event()]) as server:
        async with open_api(server.address) as api:
            assert (await api.next()).request_id == "r-1"

    assert len(server.requests) == 4
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_no_content_means_poll_again(
    open_api: OpenApi, caplog: pytest.LogCaptureFixture
) -> None:
    """Some emulators end idle polls so; it is no fault."""
    with StubServer([answer(204), answer(204), event()]) as server:
        async with open_api(server.address) as api:
            assert (await api.next()).request_id == "r-1"

    assert not caplog.records


async def test_interim_responses_are_skipped(open_api: OpenApi) -> None:
    """They are not the answer, even with an answer's headers."""
    interim = b"HTTP/1.1 103 Early\r\nLambda-Runtime-Aws-Request-Id: wrong\r\n\r\n"
    with StubServer([b"HTTP/1.1 100 Continue\r\n\r\n" + interim + event()]) as server:
        async with open_api(server.address) as api:
            assert (await api.next()).request_id == "r-1"


async def test_polls_keep_their_connection(open_api: OpenApi) -> None:
    """One connection, however many events."""
    with StubServer([event(), event(), event()]) as server:
        async with open_api(server.address) as api:
            for _ in range(3):
                await api.next()
        assert server.connections == 1


async def test_a_kept_connection_that_died_is_replaced_without_a_word(
    open_api: OpenApi, caplog: pytest.LogCaptureFixture
) -> None:
    """A keep-alive connection may end at any time; that is no fault."""
    with StubServer([event(), Act(end=End.CLOSE), event(request_id="r-2")]) as server:
        async with open_api(server.address) as api:
            await api.next()
            assert (await api.next()).request_id == "r-2"
        assert server.connections == 2

    assert not caplog.records


STRAY = event(request_id="stray")


@pytest.mark.parametrize(
    ("at_once", "later"),
    [(STRAY, b""), (b"", STRAY), (STRAY[:30], b""), (b"", STRAY[:30])],
    ids=["same-segment", "later", "half-of-it-in-the-same-segment", "half-of-it-later"],
)
async def test_an_answer_to_no_question_is_never_taken_for_one(
    open_api: OpenApi, at_once: bytes, later: bytes
) -> None:
    """Taken for the next poll's answer, it would shift every later answer by one."""
    with StubServer([event() + at_once, event(request_id="r-2")]) as server:
        async with open_api(server.address) as api:
            await api.next()
            if later:
                server.send(0, later)
                await anyio.to_thread.run_sync(str)  # the loop looks at its sockets
            second = await api.next()
        assert server.connections == 2

    assert second.request_id == "r-2"


async def test_a_cancelled_poll_closes_its_connection(open_api: OpenApi) -> None:
    """Kept, its late answer would meet the next request."""
    with StubServer([Act(end=End.HOLD), event()]) as server:
        async with open_api(server.address) as api:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(api.next)
                await anyio.to_thread.run_sync(server.arrived.get, True, 5)
                tasks.cancel_scope.cancel()
            assert await anyio.to_thread.run_sync(server.closed.get, True, 5) == 0
            assert (await api.next()).request_id == "r-1"


async def test_hanging_up_after_stopping_is_the_end(
    open_api: OpenApi, caplog: pytest.LogCaptureFixture
) -> None:
    """The platform hangs up on waiting polls when it shuts the environment down."""
    with StubServer([Act(event()), Act(end=End.HOLD)]) as server:
        async with open_api(server.address) as api:
            await api.next()
            api.stopping()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_expect_closed, api)
                for _ in range(2):
                    await anyio.to_thread.run_sync(server.arrived.get, True, 5)
                server.hang_up()

    assert not caplog.records


async def _expect_closed(api: object) -> None:
    with pytest.raises(RuntimeApiClosed):
        await api.next()  # type: ignore[attr-defined]


async def test_stopping_ends_a_pause(open_api: OpenApi, unused_address: str) -> None:
    """A poll that waits to try again does not hold up the end of the process."""
    backoff = Backoff(clock=lambda: 0.0, random=lambda: 0.0, first_s=3600.0, cap_s=3600.0)
    async with open_api(unused_address, backoff) as api, anyio.create_task_group() as tasks:
        tasks.start_soon(_expect_closed, api)
        await anyio.wait_all_tasks_blocked()
        api.stopping()


async def test_closing_ends_waiting_polls(open_api: OpenApi) -> None:
    """`aclose` is the end of the process; nothing may wait on."""
    with StubServer([Act(end=End.HOLD)] * 2) as server:
        async with open_api(server.address) as api, anyio.create_task_group() as tasks:
            tasks.start_soon(_expect_closed, api)
            tasks.start_soon(_expect_closed, api)
            for _ in range(2):
                await anyio.to_thread.run_sync(server.arrived.get, True, 5)
            await api.aclose()
        await _expect_closed(api)


async def test_no_contact_for_too_long_is_final(open_api: OpenApi, unused_address: str) -> None:
    """The process should exit, so that the platform replaces the environment."""
    times_s = iter([4.0 * step for step in range(16)])
    backoff = Backoff(clock=lambda: next(times_s), random=lambda: 0.0, first_s=0.0, cap_s=0.0)
    async with open_api(unused_address, backoff) as api:
        with pytest.raises(RuntimeApiUnreachable):
            await api.next()

    assert not list(times_s)


async def test_an_accepted_answer_is_contact_too(open_api: OpenApi) -> None:
    """While answers get through, the environment is not lost."""
    times_s = iter([0.0, 4.0])
    backoff = Backoff(
        clock=lambda: next(times_s), random=lambda: 0.0, first_s=0.0, cap_s=0.0, hopeless_after_s=3
    )
    refusal = error(500, "InternalServerError")
    gate = threading.Event()
    acts = [event(), refusal, Act(refusal, before=gate), answer(202, ACCEPTED), event()]
    with StubServer(acts) as server:
        async with open_api(server.address, backoff) as api, anyio.create_task_group() as tasks:
            invocation = await api.next()
            tasks.start_soon(api.next)
            for _ in range(3):
                await anyio.to_thread.run_sync(server.arrived.get, True, 5)
            await api.respond(invocation, Success(b"{}"))
            gate.set()

    assert not list(times_s)
