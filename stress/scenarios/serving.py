"""Participants that serve requests, in threads and in tasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import Context
from typing import Any

from lmi_runtime.context import Request, enter
from lmi_runtime.model import Invocation
from stress.scenarios.scenario import State

__all__ = ["fine", "request_of", "requests", "serves"]


def request_of(name: str) -> Request:
    """A request with a trace of its own, which its name is a part of."""
    number = int.from_bytes(name.encode(), "big")
    return Request(
        Invocation(
            name,
            function_arn=f"arn:aws:lambda:eu-west-1:123456789012:function:{name}",
            trace_id=f"Root=1-67891233-{number:024x};Parent={number:016x};Sampled=1",
        )
    )


def requests(*names: str) -> State:
    """A state with a request for each name, and nothing seen so far."""
    state = State()
    state.requests = {name: request_of(name) for name in names}
    state.seen = []
    return state


def serves(name: str, code: Callable[[State, str], Any]) -> Callable[[State], Any]:
    """
    A participant that runs ``code(state, name)`` in the request of that name, and then ends it.

    A task if `code` is ``async def``, else a thread.
    """

    async def task(state: State) -> None:
        enter(state.requests[name])
        try:
            await code(state, name)
        finally:
            state.requests[name].end()

    def thread(state: State) -> None:
        context = Context()
        context.run(enter, state.requests[name])
        try:
            context.run(code, state, name)
        finally:
            state.requests[name].end()

    participant = task if inspect.iscoroutinefunction(code) else thread
    participant.__name__ = f"request {name}"
    return participant


def fine(state: State) -> None:
    """Whatever somebody has seen is what it should have seen."""
    assert state.seen, "nobody has looked at anything"
    assert all(should == did for should, did in state.seen), state.seen
