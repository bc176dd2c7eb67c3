"""Every fault of one invocation is a value; only the runtime's own cancellation goes through."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from lmi_runtime.context import current
from lmi_runtime.errors import ContextUnmarshalError
from lmi_runtime.model import MAX_RESPONSE_BYTES, EntryKind, Failure, Success

pytestmark = pytest.mark.anyio


# --------------------------------------------------------------------------- tasks


async def test_async_handler_gets_event_and_context(serving: Any) -> None:
    async def handler(event: Any, context: Any) -> Any:
        assert context is current().lambda_context
        return {"got": event, "id": context.aws_request_id}

    served = serving(handler)

    assert served.entry.kind is EntryKind.TASK
    outcome = await served.task(served.request(b'{"a": 1}'))
    assert outcome == Success(b'{"got": {"a": 1}, "id": "r1"}', "application/json")


async def test_async_handler_of_the_event_alone(serving: Any) -> None:
    async def handler(event: Any) -> Any:
        return event

    assert await serving(handler).task() == Success(b"{}")


async def test_handler_that_ignores_the_context_survives_a_corrupt_one(serving: Any) -> None:
    async def handler(event: Any) -> str:
        return "fine"

    served = serving(handler)
    outcome = await served.task(served.request(client_context="{corrupt"))
    assert outcome == Success(b'"fine"')


async def test_corrupt_client_context_is_the_invocations_failure(serving: Any) -> None:
    async def handler(event: Any, context: Any) -> str:
        pytest.fail("reached the handler")

    served = serving(handler)
    outcome = await served.task(served.request(client_context="{corrupt"))
    assert isinstance(outcome, Failure)
    assert outcome.error_type == ContextUnmarshalError.error_type == outcome.error_class


async def test_coroutine_function_hidden_by_a_plain_decorator_is_awaited(serving: Any) -> None:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(event: Any, context: Any) -> Any:
            return function(event, context)

        return wrapper

    @decorate
    async def handler(event: Any, context: Any) -> str:
        return "awaited"

    assert await serving(handler).task() == Success(b'"awaited"')


async def test_object_with_an_async_call(serving: Any) -> None:
    class App:
        async def __call__(self, event: Any, context: Any) -> str:
            return "called"

    assert await serving(App()).task() == Success(b'"called"')
    assert await serving(App().__call__).task() == Success(b'"called"')
    assert await serving(functools.partial(App())).task() == Success(b'"called"')


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b'{"a": ', b"{} trailing"])
async def test_event_that_is_no_json_never_reaches_the_handler(serving: Any, body: bytes) -> None:
    async def handler(event: Any, context: Any) -> None:
        pytest.fail("reached the handler")

    def sync_handler(event: Any, context: Any) -> None:
        pytest.fail("reached the handler")

    served, in_thread = serving(handler), serving(sync_handler)
    for outcome in (
        await served.task(served.request(body)),
        in_thread.thread(in_thread.request(body)),
    ):
        assert isinstance(outcome, Failure)
        assert outcome.error_type == outcome.error_class == "Runtime.UnmarshalError"
        assert outcome.message.startswith("Unable to unmarshal input: ")


async def test_binary_event_with_its_own_content_type_arrives_as_bytes(serving: Any) -> None:
    async def handler(event: Any) -> bytes:
        assert isinstance(event, bytes)
        return event

    served = serving(handler)
    request = served.request(b"\xff\x00", content_type="application/octet-stream")
    assert await served.task(request) == Success(b"\xff\x00", "application/unknown")


@pytest.mark.parametrize("result", [object(), {1, 2}, {"a": object()}, {(1,): 2}, "\ud800"])
async def test_result_that_has_no_json_form(serving: Any, result: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.13")

    async def handler(event: Any) -> Any:
        return result

    def sync_handler(event: Any) -> Any:
        return result

    for outcome in (await serving(handler).task(), serving(sync_handler).thread()):
        assert isinstance(outcome, Failure)
        assert outcome.error_type == outcome.error_class == "Runtime.MarshalError"
        assert outcome.message.startswith("Unable to marshal response: ")
        assert outcome.stack == ()


@pytest.mark.parametrize(
    ("size", "fits"), [(MAX_RESPONSE_BYTES, True), (MAX_RESPONSE_BYTES + 1, False)]
)
async def test_result_is_measured_before_it_is_sent(serving: Any, size: int, fits: bool) -> None:
    async def handler(event: Any) -> bytes:
        return bytes(size)

    def sync_handler(event: Any) -> bytes:
        return bytes(size)

    for outcome in (await serving(handler).task(), serving(sync_handler).thread()):
        assert isinstance(outcome, Success) == fits
        if isinstance(outcome, Failure):
            assert outcome.error_type == "Function.ResponseSizeTooLarge"
            assert str(size) in outcome.message


class Weird(BaseException):
    pass


RAISED = [
    ValueError("no"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError("mine"),
    StopIteration(1),
    Weird("x"),
    BaseExceptionGroup("several", [SystemExit(1), ValueError("no")]),
]


@pytest.mark.parametrize("raised", RAISED, ids=lambda exc: type(exc).__name__)
async def test_whatever_the_handler_raises_is_a_failure(
    serving: Any, raised: BaseException
) -> None:
    async def handler(event: Any) -> None:
        await anyio.lowlevel.checkpoint()
        raise raised

    def sync_handler(event: Any) -> None:
        raise raised

    outcomes = [await serving(handler).task(), serving(sync_handler).thread()]
    # Raising StopIteration in a coroutine is a RuntimeError; Python says so, not we.
    expected = ["RuntimeError" if isinstance(raised, StopIteration) else type(raised).__name__]
    expected.append(type(raised).__name__)
    for outcome, name in zip(outcomes, expected, strict=True):
        assert isinstance(outcome, Failure)
        assert outcome.error_class == name
        assert outcome.error_type == f"Function.{name}"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancelled_error_the_handler_made_itself_is_a_failure(serving: Any) -> None:
    """A future that was cancelled, awaited without a guard: the commonest way to get one."""

    async def handler(event: Any) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    outcome = await serving(handler).task()

    assert isinstance(outcome, Failure)
    assert outcome.error_type == "Function.CancelledError"


async def test_cancellation_by_the_runtime_goes_through(serving: Any) -> None:
    entered = anyio.Event()
    unwound = []

    async def handler(event: Any) -> None:
        entered.set()
        try:
            await anyio.sleep_forever()
        finally:
            unwound.append(True)

    served = serving(handler)
    outcomes = []
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def serve() -> None:
                outcomes.append(await served.task())

            tasks.start_soon(serve)
            await entered.wait()
            scope.cancel()

    assert scope.cancelled_caught
    assert unwound and not outcomes


async def test_cancellation_inside_the_handlers_own_group_goes_through(serving: Any) -> None:
    """On trio it may come out as a group, together with what unwinding raised."""
    entered = anyio.Event()

    async def child() -> None:
        entered.set()
        await anyio.sleep_forever()

    async def handler(event: Any) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)
            tasks.start_soon(child)

    served = serving(handler)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(served.task)
            await entered.wait()
            scope.cancel()

    assert scope.cancelled_caught


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_task_cancel_goes_through(serving: Any) -> None:
    entered = asyncio.Event()

    async def handler(event: Any) -> None:
        entered.set()
        await asyncio.sleep(3600)

    task = asyncio.create_task(serving(handler).task())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_handlers_own_time_limits_stay_its_own(serving: Any) -> None:
    async def handler(event: Any) -> str:
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0):
                await anyio.sleep_forever()
        return "went on"

    assert await serving(handler).task() == Success(b'"went on"')


async def test_failure_begins_with_the_users_frame(serving: Any) -> None:
    async def handler(event: Any) -> None:
        helper()

    def helper() -> None:
        raise LookupError("gone")

    def sync_handler(event: Any) -> None:
        helper()

    for outcome, name in (
        (await serving(handler).task(), "handler"),
        (serving(sync_handler).thread(), "sync_handler"),
    ):
        assert isinstance(outcome, Failure)
        assert [frame.split(", in ")[1].split("\n")[0] for frame in outcome.stack] == [
            name,
            "helper",
        ]
        assert all(__file__ in frame for frame in outcome.stack)


async def test_wrong_entrance_is_said_so(serving: Any) -> None:
    async def handler(event: Any) -> None: ...
    def sync_handler(event: Any) -> None: ...

    with pytest.raises(TypeError, match=r"TASK.*serve\(\)"):
        serving(handler).thread()
    with pytest.raises(TypeError, match=r"THREAD.*serve_blocking\(\)"):
        await serving(sync_handler).task()


async def test_outside_a_request_the_failure_says_so(serving: Any) -> None:
    async def handler(event: Any, context: Any) -> None: ...

    served = serving(handler)
    outcome = await served.entry.serve(served.request().invocation)
    assert isinstance(outcome, Failure)
    assert outcome.error_type == "Function.NoActiveRequest"


# --------------------------------------------------------------------------- threads


async def test_plain_handler_runs_in_the_thread_it_is_served_in(serving: Any) -> None:
    def handler(event: Any, context: Any) -> Any:
        return {"id": current().request_id, "event": event}

    served = serving(handler)
    assert served.entry.kind is EntryKind.THREAD
    outcome = await anyio.to_thread.run_sync(served.thread)
    assert outcome == Success(b'{"id": "r1", "event": {}}')


async def test_options_reach_the_entry(serving: Any) -> None:
    async def handler(event: Any) -> None: ...
    def sync_handler(event: Any) -> None: ...

    entry = serving(handler, deadline_margin_s=0.25).entry
    assert (entry.cancel_at_deadline, entry.deadline_margin_s) == (True, 0.25)
    assert not serving(handler, deadline="report").entry.cancel_at_deadline
    assert serving(sync_handler).entry.cancel_at_deadline
    assert not serving(sync_handler, deadline="report").entry.cancel_at_deadline


async def test_serializer_encodes_and_decodes(serving: Any) -> None:
    class Upper:
        def dumps(self, value: Any) -> str:
            return str(value).upper()

        def loads(self, body: bytes) -> str:
            return body.decode()

    async def handler(event: Any) -> Any:
        return event

    served = serving(handler, serializer=Upper())
    assert await served.task(served.request(b"abc")) == Success(b"ABC")
