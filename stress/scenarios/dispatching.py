"""The dispatch loop: deadlines, slots, threads and draining, in every order of events."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import anyio
import anyio.lowlevel

from lmi_runtime import _sync
from lmi_runtime.context import current
from lmi_runtime.dispatch import Dispatcher, DispatchHooks, DispatchOptions
from lmi_runtime.model import EntryKind, Invocation, Outcome, Success
from stress.scenarios.loops import repeatable
from stress.scenarios.platform import Ledger, Platform
from stress.scenarios.scenario import Budget, Scenario, State

__all__ = [
    "answers_on_threads",
    "backlog_and_deadline",
    "deadline_and_end_of_task",
    "deadline_and_end_of_thread",
    "drain_and_calls",
    "drain_gives_up_on_a_thread",
    "watchdog_and_end",
]

_WATCHED = ("lmi_runtime.dispatch",)


class Entry:
    """A handler that is a plain function of the invocation."""

    deadline_margin_s = 0.0
    cancel_at_deadline = True

    def __init__(self, code: Callable[[Invocation], Any], kind: EntryKind) -> None:
        self._code = code
        self.kind = kind

    async def serve(self, invocation: Invocation) -> Outcome:
        """See the port."""
        result: Awaitable[Outcome] = self._code(invocation)
        return await result

    def serve_blocking(self, invocation: Invocation) -> Outcome:
        """See the port."""
        outcome: Outcome = self._code(invocation)
        return outcome


def _worker(state: State, entry: Entry, **options: Any) -> Dispatcher:
    """A dispatcher over a platform in memory; called on the loop that will run it."""
    state.platform = Platform()
    state.ledger = Ledger()
    state.placed, state.left = [], []
    state.options = DispatchOptions(**{"limit": 1, "spare": 1, **options})
    state.dispatcher = Dispatcher(
        state.platform,
        entry,
        state.options,
        ledger=state.ledger,
        hooks=DispatchHooks(placed=state.placed.append, left=state.left.append),
    )
    return state.dispatcher  # type: ignore[no-any-return]


async def _serve(
    state: State, *callers: Callable[[], Coroutine[Any, Any, Any]], patience_s: float = math.inf
) -> None:
    """Run the dispatcher until all callers have ended, then drain it."""

    async def body() -> None:
        await _serve_here(state, callers, patience_s)

    await repeatable(body)


async def _serve_here(
    state: State, callers: Sequence[Callable[[], Coroutine[Any, Any, Any]]], patience_s: float
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(state.dispatcher.run)
        async with anyio.create_task_group() as calling:
            for caller in callers:
                calling.start_soon(caller)
        # An event loop's promise that draining builds on, and that the chooser breaks: what is
        # ready now has its turn first.
        state.dispatcher._kernel.turn = state.platform.nothing_on_the_way
        state.drained = await state.dispatcher.drain(patience_s)
        state.statistics = state.dispatcher.statistics()


def quiet() -> State:
    """A state, while our own loggers say nothing."""
    logging.getLogger("lmi_runtime").setLevel(logging.CRITICAL)
    return State()


def settled_once(state: State) -> None:
    """What must hold whenever a dispatcher was drained to the end."""
    assert state.drained, "the drain timed out"
    assert state.ledger.in_flight == {}, state.ledger.in_flight
    for call in state.platform.calls:
        assert len(call.answers) == 1, (call.invocation.request_id, call.answers)
    for slot in state.placed:
        name = slot.invocation.request_id
        assert (slot.settled, slot.left, slot.request.ended) == (True, True, True), name
        assert slot.holds == 0, name
    assert len(state.left) == len(state.placed) == len(state.platform.calls)
    numbers = state.statistics
    assert numbers.served == len(state.platform.calls), numbers
    assert (numbers.running, numbers.quarantined, numbers.stale, numbers.lost) == (0, 0, 0, 0)
    _nothing_is_held(state.dispatcher, state.options)


def _nothing_is_held(dispatcher: Any, options: DispatchOptions) -> None:
    places = options.limit + (0 if options.strict else options.spare)
    assert dispatcher._places == places, "a place was lost or made"
    assert not dispatcher._backlog
    waiting = [event for event in dispatcher._without_token if not event.is_set()]
    assert not (waiting and dispatcher._tokens), "a poll waits although there is a token"
    assert dispatcher._threads._busy == 0, "a handler's thread counts as busy for ever"


def answers_on_threads() -> Scenario:
    """Synchronous handlers on threads: each sees its own request, and each answer is its own."""

    def code(invocation: Invocation) -> Outcome:
        before = current().request_id
        _sync.sleep(0.01)
        assert current().request_id == before
        return Success(before.encode())

    async def traffic(state: State) -> None:
        _worker(state, Entry(code, EntryKind.THREAD), limit=2)
        await _serve(state, state.platform.call, state.platform.call)

    def each_has_its_own_answer(state: State) -> None:
        settled_once(state)
        for call in state.platform.calls:
            assert call.body == call.invocation.request_id.encode(), call.answers

    return Scenario(quiet, (traffic,), each_has_its_own_answer, _WATCHED)


def deadline_and_end_of_thread() -> Scenario:
    """A thread ends at the very moment its deadline comes: one answer, nothing left behind."""

    def code(invocation: Invocation) -> Outcome:
        _sync.sleep(1.0)
        return Success(b"done")

    async def traffic(state: State) -> None:
        _worker(state, Entry(code, EntryKind.THREAD))

        async def caller() -> None:
            call = await state.platform.call(deadline_s=_sync.monotonic() + 1.0)
            await call.answered.wait()

        await _serve(state, caller)

    return Scenario(quiet, (traffic,), settled_once, _WATCHED)


def deadline_and_end_of_task() -> Scenario:
    """The same for a handler that is a task, with clean-up that awaits when it is cancelled."""

    async def code(invocation: Invocation) -> Outcome:
        try:
            await anyio.sleep(1.0)
        finally:
            await anyio.lowlevel.checkpoint()
        return Success(b"done")

    async def traffic(state: State) -> None:
        _worker(state, Entry(code, EntryKind.TASK))

        async def caller() -> None:
            for _ in range(2):
                call = await state.platform.call(deadline_s=_sync.monotonic() + 1.0)
            await call.answered.wait()

        await _serve(state, caller)

    return Scenario(quiet, (traffic,), settled_once, _WATCHED)


def backlog_and_deadline() -> Scenario:
    """Strict admission: what waits for a place may meet its deadline before it has one."""

    def code(invocation: Invocation) -> Outcome:
        _sync.sleep(1.0)
        return Success(b"done")

    async def traffic(state: State) -> None:
        _worker(state, Entry(code, EntryKind.THREAD), strict=True)

        async def caller() -> None:
            await state.platform.call(deadline_s=_sync.monotonic() + 2.0)
            await state.platform.call(deadline_s=_sync.monotonic() + 1.0)

        await _serve(state, caller)

    return Scenario(quiet, (traffic,), settled_once, _WATCHED)


def drain_and_calls() -> Scenario:
    """What was delivered before the worker was told to drain is answered before it ends."""

    async def code(invocation: Invocation) -> Outcome:
        await anyio.sleep(0.01)
        return Success(current().request_id.encode())

    async def traffic(state: State) -> None:
        _worker(state, Entry(code, EntryKind.TASK), limit=2)

        async def caller() -> None:
            for _ in range(2):
                await state.platform.call()

        await _serve(state, caller)

    return Scenario(quiet, (traffic,), settled_once, _WATCHED)


def drain_gives_up_on_a_thread() -> Scenario:
    """A thread that ends when nobody waits for it any more ends in silence."""

    def code(invocation: Invocation) -> Outcome:
        _sync.sleep(1.0)
        return Success(b"too late")

    async def traffic(state: State) -> None:
        _worker(state, Entry(code, EntryKind.THREAD))
        await _serve(state, state.platform.call, patience_s=1.0)

    def at_most_one_answer(state: State) -> None:
        (call,) = state.platform.calls
        assert len(call.answers) <= 1
        assert not state.drained or not state.ledger.in_flight

    return Scenario(quiet, (traffic,), at_most_one_answer, _WATCHED)


def watchdog_and_end() -> Scenario:
    """The watchdog pings a loop that may be gone by then, and is stopped in any order."""

    async def code(invocation: Invocation) -> Outcome:
        _sync.sleep(3.0)  # blocks the loop
        return Success(b"done")

    async def traffic(state: State) -> None:
        _worker(state, Entry(code, EntryKind.TASK), stall_threshold_s=1.0)
        await _serve(state, state.platform.call)

    return Scenario(quiet, (traffic,), settled_once, _WATCHED, Budget(preemptions=1))
