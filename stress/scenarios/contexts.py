"""Whose request it is: in threads, pools and variables that requests share by name only."""

from __future__ import annotations

from contextvars import Context
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.context import (
    ContextThreadPoolExecutor,
    Request,
    RequestScope,
    current,
    enter,
    peek,
    scoped,
    spawn_thread,
)
from lmi_runtime.errors import NoActiveRequest
from lmi_runtime.model import Invocation
from stress.scenarios.scenario import Budget, Scenario, State

__all__ = [
    "counter",
    "end_and_current",
    "one_lambda_context",
    "one_value_per_request",
    "shared_pool",
    "spawned_threads",
    "variables",
]

_WATCHED = ("lmi_runtime.context",)


class Variables(RequestScope):
    """What the scenarios keep per request."""

    user: str
    cart: list[str] = scoped(list)


def _two_requests() -> State:
    state = State()
    state.scope = Variables()
    state.requests = {name: Request(Invocation(name)) for name in ("a", "b")}
    state.seen = []
    return state


def _serves(name: str, code: Any) -> Any:
    """A participant that runs `code(state)` in the request `name`, and then ends it."""

    def participant(state: State) -> None:
        request = state.requests[name]
        context = Context()
        context.run(enter, request)
        context.run(code, state)
        request.end()

    participant.__name__ = f"request {name}"
    return participant


def _fine(state: State) -> None:
    assert all(mine == theirs for mine, theirs in state.seen), state.seen


def variables() -> Scenario:
    """A variable that two requests set at once has two values."""

    def code(state: State) -> None:
        mine = current().request_id
        state.scope.user = mine
        state.scope.cart.append(mine)
        state.seen.append((mine, state.scope.user))
        state.seen.append(([mine], state.scope.cart))

    return Scenario(_two_requests, (_serves("a", code), _serves("b", code)), _fine, _WATCHED)


def one_value_per_request() -> Scenario:
    """A default that is made on first use is made once, however many threads use it first."""

    def setup() -> State:
        state = _two_requests()
        state.made = _sync.Counter()
        return state

    def asks(state: State) -> None:
        context = Context()
        context.run(enter, state.requests["a"])
        state.seen.append(context.run(state.requests["a"].keep, "key", state.made.add))

    def once(state: State) -> None:
        assert state.seen == [1, 1], state.seen

    return Scenario(setup, (asks, asks), once, _WATCHED)


def one_lambda_context() -> Scenario:
    """All threads of a request get the same context object."""

    def asks(state: State) -> None:
        state.seen.append(state.requests["a"].lambda_context)

    def same(state: State) -> None:
        assert state.seen[0] is state.seen[1]

    def setup() -> State:
        # What the environment says is read once a process, not once a run.
        _ = Request(Invocation("first")).lambda_context
        return _two_requests()

    return Scenario(setup, (asks, asks), same, _WATCHED)


def spawned_threads() -> Scenario:
    """A thread serves the request that started it, and what it sets stays its own."""

    def code(state: State) -> None:
        mine = current().request_id
        state.scope.user = mine

        def child() -> None:
            state.seen.append((mine, current().request_id))
            state.seen.append((mine, state.scope.user))
            state.scope.user = "child"

        thread = spawn_thread(child)
        state.seen.append((mine, state.scope.user))
        thread.join()
        state.seen.append((mine, state.scope.user))

    return Scenario(_two_requests, (_serves("a", code), _serves("b", code)), _fine, _WATCHED)


def shared_pool() -> Scenario:
    """One pool for all requests: its calls serve their submitters, its threads serve nobody."""

    def setup() -> State:
        state = _two_requests()
        state.pool = ContextThreadPoolExecutor(1)
        state.outside = []
        return state

    def code(state: State) -> None:
        mine = current().request_id
        future = state.pool.submit(lambda: current().request_id)
        future.add_done_callback(lambda _: state.outside.append((mine, peek())))
        state.seen.append((mine, future.result()))

    def closes(state: State) -> None:
        _fine(state)
        for mine, request in state.outside:
            assert request is None or request.request_id == mine, state.outside

    return Scenario(
        setup,
        (_serves("a", code), _serves("b", code)),
        closes,
        _WATCHED,
        Budget(preemptions=1),
    )


def end_and_current() -> Scenario:
    """Whoever asks as the request ends gets this request, or is told that there is none."""

    def asks(state: State) -> None:
        context = Context()
        context.run(enter, state.requests["a"])
        try:
            state.seen.append((context.run(current).request_id, "a"))
        except NoActiveRequest:
            state.seen.append((state.requests["a"].ended, True))

    def ends(state: State) -> None:
        state.requests["a"].end()

    return Scenario(_two_requests, (asks, ends), _fine, _WATCHED)


def counter() -> Scenario:
    """No update is lost, and no two callers get the same number."""

    def setup() -> State:
        state = State()
        state.counter = _sync.Counter()
        state.numbers = []
        return state

    def adds(state: State) -> None:
        for _ in range(2):
            state.numbers.append(state.counter.add())

    def all_counted(state: State) -> None:
        assert state.counter.value == 4, state.counter.value
        assert sorted(state.numbers) == [1, 2, 3, 4], state.numbers

    return Scenario(setup, (adds, adds), all_counted, ("lmi_runtime._sync",))
