"""The client against the embedded emulator: what callers get, and no rule broken on the way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from lmi_runtime.emulator import Answer, Emulator, EmulatorOptions, Fault, FaultKind
from lmi_runtime.errors import RuntimeApiClosed
from lmi_runtime.model import (
    MAX_RESPONSE_BYTES,
    Failure,
    PostVerdict,
    RuntimeApi,
    Streaming,
    Success,
)
from lmi_runtime.rapi import BlockingRuntimeApi
from tests.contract.runtime_api.conftest import OpenApi

pytestmark = pytest.mark.anyio

FAILURE = Failure("Function.ValueError", "ValueError", "no", ("frame",))


@dataclass
class Platform:
    """The emulator on a loop of its own, so that the client's may be any."""

    portal: BlockingPortal
    emulator: Emulator

    @property
    def address(self) -> str:
        return self.emulator.runtime_api

    def fault(self, call: str, kind: FaultKind, *, times: int = 1, status: int = 500) -> None:
        fault = Fault(kind, status=status)
        self.portal.call(lambda: self.emulator.faults.add(call, fault, times=times))  # type: ignore[arg-type]

    def call(self, event: bytes) -> Future[Answer]:
        """Call the function once a poll waits for the event."""

        async def call() -> Answer:
            await self.emulator.wait_ready()
            return await self.emulator.invoke(event)

        return self.portal.start_task_soon(call)

    def violations(self) -> list[str]:
        return [violation.rule for violation in self.portal.call(lambda: self.emulator.violations)]


@contextmanager
def platform(**options: object) -> Iterator[Platform]:
    """Start the emulator."""
    with start_blocking_portal() as portal:
        emulator = Emulator(EmulatorOptions(**options))  # type: ignore[arg-type]
        with portal.wrap_async_context_manager(emulator):
            yield Platform(portal, emulator)


async def answered(call: Future[Answer]) -> Answer:
    """Wait for a caller's answer."""
    return await anyio.to_thread.run_sync(call.result, 10)


async def no_chunks() -> AsyncIterator[bytes]:
    return
    yield b""


HEAD = Streaming(no_chunks(), "text/plain")


async def test_a_response_reaches_its_caller(open_api: OpenApi) -> None:
    """There and back."""
    with platform() as there:
        async with open_api(there.address) as api:
            call = there.call(b'{"n": 1}')
            invocation = await api.next()
            result = await api.respond(invocation, Success(invocation.body))
            answer = await answered(call)

            assert result.verdict is PostVerdict.ACCEPTED
            assert (answer.status, answer.error_type, answer.body) == (200, None, b'{"n": 1}')
            assert there.violations() == []


async def test_an_error_reaches_its_caller_with_its_type(open_api: OpenApi) -> None:
    """The platform's filter lets our types through."""
    with platform() as there:
        async with open_api(there.address) as api:
            call = there.call(b"{}")
            await api.fail(await api.next(), FAILURE)
            answer = await answered(call)

            assert answer.error_type == "Function.ValueError"
            assert json.loads(answer.body)["errorMessage"] == "no"
            assert there.violations() == []


@pytest.mark.parametrize(
    "options",
    [{"send_empty_headers": True}, {"legacy_no_invocation_id": True}, {"rie_deadline_bug": True}],
    ids=lambda options: next(iter(options)),
)
async def test_platforms_of_every_age_are_served(
    open_api: OpenApi, options: dict[str, bool]
) -> None:
    """Empty headers, missing ids and impossible deadlines are all the same as absent ones."""
    with platform(**options) as there:
        async with open_api(there.address) as api:
            call = there.call(b"{}")
            invocation = await api.next()
            result = await api.respond(invocation, Success(b"1"))

            assert result.verdict is PostVerdict.ACCEPTED
            assert (await answered(call)).body == b"1"
            assert invocation.trace_id is None
            assert (invocation.invocation_id is None) == ("legacy_no_invocation_id" in options)
            assert (invocation.deadline_s is None) == ("rie_deadline_bug" in options)
            assert there.violations() == []


@pytest.mark.parametrize("end", ["finish", "fail"])
async def test_a_stream_reaches_its_caller_as_it_ended(open_api: OpenApi, end: str) -> None:
    """Well, or with an error; never a part that passes for the whole."""
    with platform() as there:
        async with open_api(there.address) as api:
            call = there.call(b"{}")
            async with api.stream(await api.next(), HEAD) as upload:
                for _ in range(3):
                    await upload.write(b"x" * 50_000)
                if end == "finish":
                    assert (await upload.finish()).verdict is PostVerdict.ACCEPTED
                else:
                    assert (await upload.fail(FAILURE)).verdict is PostVerdict.ACCEPTED
            answer = await answered(call)

    if end == "finish":
        assert (answer.error_type, answer.body) == (None, b"x" * 150_000)
    else:
        assert answer.error_type == "Function.ValueError"


async def test_an_answer_after_the_deadline_is_stale(open_api: OpenApi) -> None:
    """The caller has been told already; there is nothing to repeat."""
    with platform() as there:
        there.fault("response", FaultKind.TIME_OUT_FIRST)
        async with open_api(there.address) as api:
            call = there.call(b"{}")
            result = await api.respond(await api.next(), Success(b"1"))

            assert result.verdict is PostVerdict.STALE
            assert (await answered(call)).error_type == "Sandbox.Timedout"
            assert there.violations() == []


async def test_a_refusal_that_ends_the_upload_is_one_verdict(open_api: OpenApi) -> None:
    """The refusal or the reset, whichever the kernel lets through first."""
    with platform() as there:
        there.fault("response", FaultKind.REPLY_EARLY, status=413)
        async with open_api(there.address) as api:
            call = there.call(b"{}")
            invocation = await api.next()
            result = await api.respond(invocation, Success(b"x" * MAX_RESPONSE_BYTES))
            assert result.verdict in (PostVerdict.TOO_LARGE, PostVerdict.LOST)
            await api.fail(invocation, FAILURE)
            assert (await answered(call)).error_type == "Function.ValueError"


async def test_a_reset_while_sending_is_a_lost_answer(open_api: OpenApi) -> None:
    """Small enough not to be too large."""
    with platform() as there:
        there.fault("response", FaultKind.RESET_UPLOAD)
        async with open_api(there.address) as api:
            call = there.call(b"{}")
            invocation = await api.next()
            result = await api.respond(invocation, Success(b"x" * 1_000_000))
            assert result.verdict is PostVerdict.LOST
            await api.fail(invocation, FAILURE)
            await answered(call)


async def test_a_storm_of_errors_is_outlived(open_api: OpenApi) -> None:
    """Polls that fail are not abandoned polls."""
    with platform() as there:
        there.fault("next", FaultKind.REPLY, times=20)
        there.fault("next", FaultKind.HANG_UP, times=5)
        async with open_api(there.address) as api:
            call = there.call(b"{}")
            await api.respond(await api.next(), Success(b"1"))
            assert (await answered(call)).body == b"1"
            assert there.violations() == []


async def test_the_environments_end_is_the_polls_end(open_api: OpenApi) -> None:
    """Idle polls see the end of the stream, and no status."""
    with platform() as there:
        async with open_api(there.address) as api:

            async def wait_for_the_end() -> None:
                with pytest.raises(RuntimeApiClosed):
                    await api.next()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait_for_the_end)
                ready = there.portal.start_task_soon(there.emulator.wait_ready)
                await anyio.to_thread.run_sync(ready.result, 10)
                api.stopping()
                await anyio.to_thread.run_sync(there.portal.call, there.emulator.close)


async def test_many_at_once_each_get_their_own(open_api: OpenApi) -> None:
    """Sixteen loops, two hundred calls, one client."""

    async def serve(api: RuntimeApi) -> None:
        while True:
            invocation = await api.next()
            await api.respond(invocation, Success(b"re:" + invocation.body))

    with platform(max_concurrency=16) as there:

        async def wait_for_all_polls() -> None:
            await there.emulator.wait_ready(polls=16)

        async with open_api(there.address) as api, anyio.create_task_group() as tasks:
            for _ in range(16):
                tasks.start_soon(serve, api)
            for first in range(0, 200, 8):
                await anyio.to_thread.run_sync(there.portal.call, wait_for_all_polls)
                numbers = range(first, first + 8)
                calls = [there.call(b"%d" % number) for number in numbers]
                for number, call in zip(numbers, calls, strict=True):
                    assert (await answered(call)).body == b"re:%d" % number
            assert there.violations() == []
            tasks.cancel_scope.cancel()


async def test_the_supervisors_client_speaks_the_same_protocol(open_api: OpenApi) -> None:
    """It registers, answers for a dead worker, and reports an init error."""
    with platform() as there:
        blocking = BlockingRuntimeApi(there.address)
        extension_id = await anyio.to_thread.run_sync(blocking.register_extension, "lmi")
        assert extension_id is not None
        with await anyio.to_thread.run_sync(blocking.open_event_poll, extension_id):
            async with open_api(there.address) as api:
                call = there.call(b"{}")
                dead = await api.next()
                result = await anyio.to_thread.run_sync(
                    blocking.fail,
                    dead.request_id,
                    dead.invocation_id,
                    Failure("Runtime.ExitError", "ExitError", "gone"),
                )
                assert result.verdict is PostVerdict.ACCEPTED
                assert (await answered(call)).error_type == "Runtime.ExitError"
                assert there.violations() == []
        await anyio.to_thread.run_sync(blocking.post_init_error, FAILURE)
