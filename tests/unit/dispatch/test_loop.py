"""What the dispatcher promises: one answer each, its own context, polls before answers."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncGenerator

import anyio
import anyio.lowlevel
import pytest

from lmi_runtime import _sync
from lmi_runtime.context import current
from lmi_runtime.dispatch import DispatchHooks, Slot
from lmi_runtime.errors import NoActiveRequest, RuntimeApiUnreachable
from lmi_runtime.model import (
    EntryKind,
    Failure,
    Invocation,
    Outcome,
    PostVerdict,
    StreamFailed,
    Streaming,
    Success,
)
from tests.support.patience import PATIENCE_S
from tests.unit.dispatch.conftest import serving

pytestmark = pytest.mark.anyio


async def echo(invocation: Invocation) -> Outcome:
    return Success(invocation.body)


async def test_every_call_gets_its_own_answer() -> None:
    async with serving(echo, limit=3) as bench:
        calls = []
        for number in range(20):
            await bench.api.wait_polls(1)
            calls.append(bench.api.call(b"%d" % number))
        for number, call in enumerate(calls):
            await call.answered.wait()
            assert call.body == b"%d" % number
    assert bench.dispatcher.statistics().served == 20


async def test_at_rest_as_many_polls_wait_as_the_limit_and_never_more() -> None:
    async with serving(echo, limit=3) as bench:
        for _ in range(10):
            await bench.api.wait_polls(3)
            await bench.api.call().answered.wait()
    assert bench.api.most_polls == 3


async def test_one_poll_waits_while_the_limit_runs_and_none_beyond_that() -> None:
    """The spare token is what keeps a closed loop at full concurrency from being refused."""
    gate = anyio.Event()

    async def wait(invocation: Invocation) -> Outcome:
        await gate.wait()
        return Success(b"")

    async with serving(wait, limit=2) as bench:
        calls = [bench.api.call(), bench.api.call()]
        await bench.api.wait_polls(1)
        await anyio.wait_all_tasks_blocked()
        assert len(bench.api.polls) == 1
        calls.append(bench.api.call())
        await anyio.wait_all_tasks_blocked()
        assert bench.api.call() is None
        gate.set()
        for call in calls:
            await call.answered.wait()


@pytest.mark.parametrize("kind", list(EntryKind))
async def test_a_strict_limit_is_never_exceeded_whatever_arrives(kind: EntryKind) -> None:
    """The spare event is accepted, waits for a place, and gets the first that is free."""
    gates = [_sync.Event() for _ in range(3)]
    inside: list[str] = []

    def block(invocation: Invocation) -> Outcome:
        inside.append(invocation.request_id)
        assert gates[int(invocation.body)].wait(PATIENCE_S)
        return Success(b"")

    async def wait(invocation: Invocation) -> Outcome:
        inside.append(invocation.request_id)
        while not gates[int(invocation.body)].is_set():
            await anyio.lowlevel.checkpoint()
        return Success(b"")

    code = block if kind is EntryKind.THREAD else wait
    async with serving(code, limit=2, spare=1, strict=True, kind=kind) as bench:
        calls = []
        for number in range(3):
            await bench.api.wait_polls(1)
            calls.append(bench.api.call(b"%d" % number))
        while len(inside) < 2 or len(bench.placed) < 3:
            await anyio.lowlevel.checkpoint()
        assert sorted(inside) == ["request-0", "request-1"]
        assert bench.dispatcher.statistics().running == 2
        gates[1].set()
        await calls[1].answered.wait()
        while len(inside) < 3:
            await anyio.lowlevel.checkpoint()
        gates[0].set()
        gates[2].set()
        for call in calls:
            await call.answered.wait()


@pytest.mark.parametrize("kind", list(EntryKind))
async def test_an_event_whose_deadline_comes_while_it_waits_for_a_place_never_runs(
    kind: EntryKind,
) -> None:
    gate = _sync.Event()
    inside: list[bytes] = []

    def block(invocation: Invocation) -> Outcome:
        inside.append(invocation.body)
        assert gate.wait(PATIENCE_S)
        return Success(b"")

    async def wait(invocation: Invocation) -> Outcome:
        inside.append(invocation.body)
        while not gate.is_set():
            await anyio.lowlevel.checkpoint()
        return Success(b"")

    code = block if kind is EntryKind.THREAD else wait
    async with serving(code, limit=1, spare=1, strict=True, kind=kind) as bench:
        first = bench.api.call(b"first")
        await bench.api.wait_polls(1)
        second = bench.api.call(b"second")
        while len(bench.placed) < 2:
            await anyio.lowlevel.checkpoint()
        bench.expire(bench.placed[1])
        await second.answered.wait()
        assert second.failure.error_class == "DeadlineExceeded"
        gate.set()
        await first.answered.wait()
    assert inside == [b"first"]
    assert bench.api.posts.count("request-1") == 1


async def test_the_next_poll_is_out_before_the_answer_is() -> None:
    """Without a spare token the order of the two is what a caller in a closed loop depends on."""
    polls_at_answer = []

    async with serving(echo, limit=1, spare=0) as bench:
        post = bench.api._post

        async def spy(invocation, answer):
            polls_at_answer.append(len(bench.api.polls))
            return await post(invocation, answer)

        bench.api._post = spy
        await bench.api.call().answered.wait()
    assert polls_at_answer == [1]


async def test_current_is_the_request_in_its_task_and_nowhere_after() -> None:
    seen = []
    outlived = anyio.Event()

    async def look(invocation: Invocation) -> Outcome:
        seen.append((current().request_id, invocation.request_id))
        return Success(b"")

    async with serving(look) as bench:
        await bench.api.call().answered.wait()
        await bench.api.wait_polls(2)
        await bench.api.call().answered.wait()
        outlived.set()
    assert [a for a, _ in seen] == [b for _, b in seen] == ["request-0", "request-1"]
    with pytest.raises(NoActiveRequest):
        current()
    with pytest.raises(NoActiveRequest):
        bench.left[0].context.run(current)


@pytest.mark.parametrize("kind", list(EntryKind))
async def test_what_one_invocation_sets_no_other_sees(kind: EntryKind) -> None:
    variable = contextvars.ContextVar("variable", default="untouched")
    seen = []

    def look(invocation: Invocation) -> Outcome:
        seen.append(variable.get())
        variable.set(invocation.request_id)
        return Success(b"")

    async def look_async(invocation: Invocation) -> Outcome:
        return look(invocation)

    code = look if kind is EntryKind.THREAD else look_async
    async with serving(code, limit=1, kind=kind) as bench:
        for _ in range(5):
            await bench.api.wait_polls(1)
            await bench.api.call().answered.wait()
    assert seen == ["untouched"] * 5


async def test_threads_run_side_by_side_and_know_their_request() -> None:
    both = _sync.Event()
    inside = _sync.Counter()

    def meet(invocation: Invocation) -> Outcome:
        if inside.add() == 2:
            both.set()
        assert both.wait(PATIENCE_S)
        return Success(current().request_id.encode())

    async with serving(meet, kind=EntryKind.THREAD) as bench:
        calls = [bench.api.call(), bench.api.call()]
        for call in calls:
            await call.answered.wait()
            assert call.body == call.invocation.request_id.encode()


async def test_an_answer_the_platform_refuses_is_counted_and_not_posted_again() -> None:
    async with serving(echo, limit=1) as bench:
        bench.api.verdicts.extend([PostVerdict.STALE, PostVerdict.LOST])
        for _ in range(3):
            await bench.api.wait_polls(1)
            call = bench.api.call()
            while call.invocation.request_id not in bench.api.posts:
                await anyio.lowlevel.checkpoint()
    assert bench.api.posts == ["request-0", "request-1", "request-2"]
    statistics = bench.dispatcher.statistics()
    assert (statistics.served, statistics.stale, statistics.lost) == (1, 1, 1)


async def test_a_handler_that_cancels_its_own_task_is_answered_as_a_failure(
    anyio_backend_name: str,
) -> None:
    if anyio_backend_name != "asyncio":
        pytest.skip("only asyncio has a task to cancel")

    async def cancel_self(invocation: Invocation) -> Outcome:
        asyncio.current_task().cancel()
        await anyio.sleep(1)
        raise AssertionError("not cancelled")

    async with serving(cancel_self) as bench:
        call = bench.api.call()
        await call.answered.wait()
        assert call.failure.error_type == "Function.CancelledError"


async def test_an_unreachable_platform_ends_the_run() -> None:
    caught: list[BaseException] = []
    try:
        async with serving(echo) as bench:
            bench.api.unreachable()
            await anyio.sleep(5)
    except* RuntimeApiUnreachable as group:
        caught.extend(group.exceptions)
    assert len(caught) == 1


async def test_an_event_that_arrives_while_draining_is_served() -> None:
    gate = anyio.Event()

    async def wait(invocation: Invocation) -> Outcome:
        await gate.wait()
        return Success(b"late")

    async with serving(wait) as bench:
        bench.api.call()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.dispatcher.drain, 5)
            await anyio.wait_all_tasks_blocked()
            late = bench.api.call()
            gate.set()
            await late.answered.wait()
            assert late.body == b"late"


# ---- deadlines. They lie in the past, so that nothing has to be waited for.


async def test_a_task_told_to_end_before_its_first_step_never_starts() -> None:
    started = []

    async def note(invocation: Invocation) -> Outcome:
        started.append(invocation)
        return Success(b"")

    async with serving(note) as bench:

        def too_late(slot: Slot) -> None:
            slot.overran = True
            slot.cancel()

        # As if the loop had been blocked from the delivery until the deadline.
        bench.dispatcher._hooks = DispatchHooks(placed=too_late)
        call = bench.api.call()
        await call.answered.wait()
        assert call.failure.error_class == "DeadlineExceeded"
    assert started == []


async def test_a_task_past_its_deadline_is_cancelled_once_and_may_clean_up() -> None:
    cleaned = []
    inside = anyio.Event()

    async def run_on(invocation: Invocation) -> Outcome:
        inside.set()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            cleaned.append(invocation.request_id)
        raise AssertionError

    async with serving(run_on) as bench:
        call = bench.api.call()
        await inside.wait()
        bench.expire(bench.placed[0])
        await call.answered.wait()
        assert call.failure.error_type == "Function.DeadlineExceeded"
        assert cleaned == ["request-0"]
        await bench.api.wait_polls(2)
        statistics = bench.dispatcher.statistics()
        assert (statistics.overran, statistics.running, statistics.quarantined) == (1, 0, 0)


async def test_on_asyncio_clean_up_may_await_after_the_cancellation(
    anyio_backend_name: str,
) -> None:
    if anyio_backend_name != "asyncio":
        pytest.skip("trio cancels at every await, by design")
    rolled_back = []
    inside = anyio.Event()

    async def run_on(invocation: Invocation) -> Outcome:
        inside.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            rolled_back.append(True)
        raise AssertionError

    async with serving(run_on) as bench:
        call = bench.api.call()
        await inside.wait()
        bench.expire(bench.placed[0])
        await call.answered.wait()
    assert rolled_back == [True]


@pytest.mark.parametrize("kind", list(EntryKind))
async def test_code_that_does_not_end_is_answered_for_once_and_keeps_its_slot(
    kind: EntryKind,
) -> None:
    """Fewer polls while it runs; all of them again when it has ended; no second answer."""
    release = _sync.Event()
    release_async = anyio.Event()
    inside = _sync.Event()

    def block(invocation: Invocation) -> Outcome:
        inside.set()
        if invocation.body == b"stuck":
            assert release.wait(PATIENCE_S)
        return Success(b"too late")

    async def swallow(invocation: Invocation) -> Outcome:
        inside.set()
        with anyio.CancelScope(shield=True):
            while invocation.body == b"stuck" and not release_async.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await release_async.wait()
        return Success(b"too late")

    code = block if kind is EntryKind.THREAD else swallow
    async with serving(code, limit=2, spare=0, kind=kind) as bench:
        stuck = bench.api.call(b"stuck")
        while not inside.is_set():
            await anyio.lowlevel.checkpoint()
        bench.expire(bench.placed[0])
        await stuck.answered.wait()
        assert stuck.failure.error_type == "Function.DeadlineExceeded"
        await anyio.wait_all_tasks_blocked()
        assert bench.dispatcher.statistics().quarantined == 1
        assert len(bench.api.polls) == 1
        release.set()
        release_async.set()
        await bench.api.wait_polls(2)
        await anyio.wait_all_tasks_blocked()
    assert bench.api.posts == ["request-0"]
    assert bench.dispatcher.statistics().quarantined == 0


async def test_report_only_lets_the_handler_finish_and_answer() -> None:
    gate = anyio.Event()

    async def slow(invocation: Invocation) -> Outcome:
        await gate.wait()
        return Success(b"done")

    async with serving(slow, cancel_at_deadline=False) as bench:
        call = bench.api.call(deadline_s=_sync.monotonic() - 1)
        while not bench.dispatcher.statistics().overran:
            await anyio.lowlevel.checkpoint()
        gate.set()
        await call.answered.wait()
        assert call.body == b"done"


async def test_a_sooner_deadline_than_the_one_waited_for_is_not_missed() -> None:
    async def forever(invocation: Invocation) -> Outcome:
        if invocation.body == b"far":
            return await echo(invocation)
        await anyio.sleep_forever()
        raise AssertionError

    async with serving(forever) as bench:
        far = bench.api.call(b"far", deadline_s=_sync.monotonic() + 900)
        await far.answered.wait()
        soon = bench.api.call(deadline_s=_sync.monotonic() - 1)
        await soon.answered.wait()
        assert soon.failure.error_class == "DeadlineExceeded"


# ---- streaming


def streams(*parts: bytes | BaseException | anyio.Event):
    async def chunks() -> AsyncGenerator[bytes, None]:
        for part in parts:
            if isinstance(part, anyio.Event):
                await part.wait()
            elif isinstance(part, BaseException):
                raise part
            else:
                yield part

    async def code(invocation: Invocation) -> Outcome:
        return Streaming(chunks(), "text/plain")

    return code


async def test_a_stream_is_sent_as_it_is_made() -> None:
    gate = anyio.Event()
    async with serving(streams(b"a", gate, b"b")) as bench:
        call = bench.api.call()
        while call.chunks != [b"a"]:
            await anyio.lowlevel.checkpoint()
        gate.set()
        await call.answered.wait()
        assert call.body == b"ab"


async def test_a_stream_that_fails_midway_ends_with_that_failure() -> None:
    failure = Failure("Function.ValueError", "ValueError", "no more")
    async with serving(streams(b"a", StreamFailed(failure))) as bench:
        call = bench.api.call()
        await call.answered.wait()
        assert (call.chunks, call.failure) == ([b"a"], failure)


async def test_a_stream_past_its_deadline_is_cut_and_answered_once() -> None:
    async with serving(streams(b"a", anyio.Event())) as bench:
        call = bench.api.call()
        while not call.chunks:
            await anyio.lowlevel.checkpoint()
        bench.expire(bench.placed[0])
        await call.answered.wait()
        assert (call.chunks, call.failure.error_class) == ([b"a"], "DeadlineExceeded")
    assert bench.api.posts == ["request-0"]


async def test_a_threads_stream_past_its_deadline_is_reported_and_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = anyio.Event()

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"a"
        await gate.wait()
        yield b"b"

    async with serving(lambda _: Streaming(chunks()), kind=EntryKind.THREAD) as bench:
        call = bench.api.call()
        while not call.chunks:
            await anyio.lowlevel.checkpoint()
        bench.expire(bench.placed[0])
        while not bench.dispatcher.statistics().overran:
            await anyio.lowlevel.checkpoint()
        gate.set()
        await call.answered.wait()
        assert call.body == b"ab"
    assert "past its deadline" in caplog.text


async def test_a_stream_without_end_is_left_when_its_caller_is_gone() -> None:
    made = []

    async def endless(invocation: Invocation) -> Outcome:
        async def chunks() -> AsyncGenerator[bytes, None]:
            try:
                while True:
                    yield b"more"
            finally:
                made.append("closed")

        return Streaming(chunks())

    async with serving(endless) as bench:
        call = bench.api.call()
        while len(call.chunks) < 3:
            await anyio.lowlevel.checkpoint()
        call.gone = True
        await call.answered.wait()
        assert made == ["closed"]


async def test_a_stream_whose_upload_breaks_is_lost_and_the_loop_goes_on() -> None:
    gate = anyio.Event()
    async with serving(streams(gate, b"a")) as bench:
        bench.api.call()
        bench.api.broken = True
        gate.set()
        while not bench.dispatcher.statistics().lost:
            await anyio.lowlevel.checkpoint()
        bench.api.broken = False
        await bench.api.wait_polls(2)
        again = bench.api.call()
        await again.answered.wait()
        assert again.body == b"a"
