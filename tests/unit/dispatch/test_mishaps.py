"""What goes wrong around an invocation costs no caller the answer and no slot its place."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from lmi_runtime import _sync
from lmi_runtime.context import current
from lmi_runtime.dispatch import DispatchOptions
from lmi_runtime.errors import RuntimeApiError
from lmi_runtime.model import (
    AnswerStream,
    EntryKind,
    Failure,
    Invocation,
    Outcome,
    PostResult,
    Success,
)
from tests.support.patience import PATIENCE_S
from tests.unit.dispatch.conftest import Bench, StubEntry, serving
from tests.unit.dispatch.test_loop import echo, streams

pytestmark = pytest.mark.anyio


@pytest.fixture
def _curious_filter() -> Iterator[None]:
    """A log filter that wants the request of every record, also of those made outside any."""

    def name_request(record: logging.LogRecord) -> bool:
        record.request = current().request_id
        return True

    handler = logging.NullHandler()
    handler.handle = handler.filter  # type: ignore[method-assign]  # NullHandler does not filter
    handler.addFilter(name_request)
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("kind", list(EntryKind))
@pytest.mark.parametrize("defect", [ZeroDivisionError("divided"), SystemExit(3)])
async def test_an_entry_that_raises_is_answered_for(kind: EntryKind, defect: BaseException) -> None:
    def fail(invocation: Invocation) -> Outcome:
        raise defect

    async def fail_async(invocation: Invocation) -> Outcome:
        raise defect

    async with serving(fail if kind is EntryKind.THREAD else fail_async, kind=kind) as bench:
        call = bench.api.call()
        await call.answered.wait()
        assert call.failure.error_type == "Runtime.Unknown"
        assert call.failure.error_class == type(defect).__name__
        await bench.api.wait_polls(2)


async def test_a_cancellation_that_the_handler_leaves_pending_hits_nothing_else(
    anyio_backend_name: str,
) -> None:
    if anyio_backend_name != "asyncio":
        pytest.skip("only asyncio has a task to cancel")

    async def cancel_and_return(invocation: Invocation) -> Outcome:
        asyncio.current_task().cancel()
        return Success(b"done")

    async with serving(cancel_and_return) as bench:
        call = bench.api.call()
        await call.answered.wait()
        assert call.body == b"done"


@pytest.mark.parametrize("repoll_first", [True, False])
async def test_a_slot_whose_posting_is_cancelled_from_outside_is_let_go(
    anyio_backend_name: str, repoll_first: bool
) -> None:
    """The handler's leftovers hold its task, and may cancel it at any later time."""
    if anyio_backend_name != "asyncio":
        pytest.skip("only asyncio has a task to cancel")

    async with serving(echo, limit=1, spare=0, repoll_first=repoll_first) as bench:
        post = bench.api._post

        async def cancelled_post(invocation: Invocation, answer: Success | Failure) -> None:
            bench.api._post = post
            asyncio.current_task().cancel()
            await anyio.lowlevel.checkpoint()

        bench.api._post = cancelled_post
        bench.api.call()
        await bench.api.wait_polls(1)
        again = bench.api.call()
        await again.answered.wait()
        assert bench.dispatcher.statistics().running == 0
        # Still noted as unanswered, which it is.
        assert bench.ledger.in_flight.popitem()[1] == "request-0"


@pytest.mark.usefixtures("_curious_filter")
async def test_a_log_filter_that_raises_costs_no_caller_the_answer() -> None:
    async def fail(invocation: Invocation) -> Outcome:
        return Failure("Function.ValueError", "ValueError", "no")

    async with serving(fail) as bench:
        call = bench.api.call()
        await call.answered.wait()
        assert call.failure.error_class == "ValueError"


@pytest.mark.usefixtures("_curious_filter")
async def test_a_log_filter_that_raises_does_not_end_the_worker_at_a_deadline() -> None:
    gate = _sync.Event()

    def block(invocation: Invocation) -> Outcome:
        assert gate.wait(PATIENCE_S)
        return Success(b"too late")

    async with serving(block, kind=EntryKind.THREAD) as bench:
        call = bench.api.call(deadline_s=_sync.monotonic() - 1)
        await call.answered.wait()
        gate.set()
        await bench.api.wait_polls(2)


async def test_no_poll_begins_once_draining_has() -> None:
    gate = anyio.Event()
    polls_at_answer = []

    async def wait(invocation: Invocation) -> Outcome:
        await gate.wait()
        return Success(b"")

    async with serving(wait, limit=1, spare=0) as bench:
        post = bench.api._post

        async def spy(invocation: Invocation, answer: Success | Failure) -> PostResult:
            polls_at_answer.append(len(bench.api.polls))
            return await post(invocation, answer)

        bench.api._post = spy
        bench.api.call()
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.dispatcher.drain, 5)
            await anyio.wait_all_tasks_blocked()
            gate.set()
    assert polls_at_answer == [0]


def open_streams_with(bench: Bench, opening: Callable[[], Awaitable[None]]) -> None:
    """Let `opening()` happen, once, before an upload is open."""
    real = bench.api.stream

    @asynccontextmanager
    async def stream(*arguments: object) -> AsyncIterator[AnswerStream]:
        bench.api.stream = real
        await opening()
        async with real(*arguments) as upload:
            yield upload

    bench.api.stream = stream


async def test_a_stream_whose_deadline_comes_while_it_is_opened_is_cut() -> None:
    opening, may_open = anyio.Event(), anyio.Event()

    async def slowly() -> None:
        opening.set()
        await may_open.wait()

    async with serving(streams(b"a", anyio.Event())) as bench:
        open_streams_with(bench, slowly)
        call = bench.api.call()
        await opening.wait()
        bench.expire(bench.placed[0])
        await anyio.wait_all_tasks_blocked()
        may_open.set()
        await call.answered.wait()
        assert (call.chunks, call.failure.error_class) == ([], "DeadlineExceeded")


async def test_a_stream_that_cannot_be_opened_is_lost_and_its_place_is_not() -> None:
    async def refuse() -> None:
        raise RuntimeApiError("no connection")

    async with serving(streams(b"a"), limit=1, spare=0) as bench:
        open_streams_with(bench, refuse)
        bench.api.call()
        await bench.api.wait_polls(1)
        again = bench.api.call()
        await again.answered.wait()
        assert again.body == b"a"
        assert bench.dispatcher.statistics().lost == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thread_that_outlives_the_loop_ends_in_silence(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Draining gave up on it; nobody is left to take its outcome, and that is no error."""
    entered, released = threading.Event(), threading.Event()
    uncaught: list[object] = []
    monkeypatch.setattr(threading, "excepthook", uncaught.append)

    def code(_: Invocation) -> Outcome:
        entered.set()
        assert released.wait(PATIENCE_S)
        return Success(b"too late")

    async def main() -> None:
        bench = Bench(StubEntry(code, kind=EntryKind.THREAD), DispatchOptions(limit=1))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.dispatcher.run)
            await bench.api.wait_polls(1)
            bench.api.call()
            await anyio.to_thread.run_sync(entered.wait, 10)
            assert not await bench.dispatcher.drain(timeout_s=0)

    before = set(threading.enumerate())
    anyio.run(main, backend=backend)
    (thread,) = [t for t in set(threading.enumerate()) - before if t.name.startswith("lmi-handler")]
    released.set()
    thread.join(PATIENCE_S)

    assert not thread.is_alive()
    assert uncaught == []
