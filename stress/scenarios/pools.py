"""What requests share on purpose: resources that are opened once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.context import set_worker_loop
from lmi_runtime.errors import PoolClosed, ReentrantLoad
from lmi_runtime.pools import registry
from lmi_runtime.pools.resources import resource
from stress.scenarios.loops import repeatable
from stress.scenarios.scenario import Budget, Scenario, State

__all__ = [
    "resource_closed_while_opened",
    "resource_fails_once",
    "resource_left_by_tasks",
    "resource_opened_by_threads_and_tasks",
    "resources_in_a_circle",
]

_WATCHED = ("lmi_runtime.pools.once", "lmi_runtime.pools.resources", "lmi_runtime.pools.registry")


def _nothing_open() -> State:
    state = State()
    state.log = []
    state.seen = []
    return state


def _asks(state: State) -> None:
    try:
        state.seen.append(state.thing())
    except (PoolClosed, ReentrantLoad, ConnectionError) as error:
        state.seen.append(type(error).__name__)


def _generator(state: State) -> Callable[[], Iterator[str]]:
    def thing() -> Iterator[str]:
        state.log.append("open")
        yield "value"
        state.log.append("close")

    return thing


def resource_closed_while_opened() -> Scenario:
    """Two ask, one closes: what was opened is closed, once, and nobody waits for ever."""

    def setup() -> State:
        state = _nothing_open()
        state.thing = resource(_generator(state))
        return state

    def closes(state: State) -> None:
        state.thing.close()

    def closed_once(state: State) -> None:
        assert state.log in ([], ["open", "close"]), state.log
        assert set(state.seen) <= {"value", "PoolClosed"}, state.seen
        assert len(state.seen) == 2
        assert (registry._opened(), state.thing._once.cells) == ({}, {})

    return Scenario(setup, (_asks, _asks, closes), closed_once, _WATCHED)


def resource_fails_once() -> Scenario:
    """Whoever waits for an opening that fails hears of it; whoever comes later opens anew."""

    def setup() -> State:
        state = _nothing_open()

        def thing() -> int:
            state.log.append("open")
            if len(state.log) == 1:
                raise ConnectionError
            return len(state.log)

        state.thing = resource(thing)
        return state

    def asks_again(state: State) -> None:
        _asks(state)
        _asks(state)

    def at_most_two(state: State) -> None:
        assert len(state.log) == 2, state.log
        assert sorted(state.seen, key=str)[0] == 2, state.seen
        assert set(state.seen) <= {2, "ConnectionError"}, state.seen

    return Scenario(setup, (asks_again, _asks), at_most_two, _WATCHED)


def resources_in_a_circle() -> Scenario:
    """Two openings that need each other fail, in whatever order they find out."""

    def setup() -> State:
        state = _nothing_open()
        state.left = resource(lambda: state.right())
        state.right = resource(lambda: state.left())
        return state

    def asks(name: str) -> Callable[[State], None]:
        def participant(state: State) -> None:
            try:
                getattr(state, name)()
            except ReentrantLoad:
                state.seen.append(name)

        return participant

    def both_failed(state: State) -> None:
        assert sorted(state.seen) == ["left", "right"], state.seen

    return Scenario(
        setup, (asks("left"), asks("right")), both_failed, _WATCHED, Budget(preemptions=1)
    )


def _async_generator(state: State) -> Callable[[], AsyncIterator[str]]:
    async def thing() -> AsyncIterator[str]:
        state.log.append("open")
        await asyncio.sleep(0)
        yield "value"
        await asyncio.sleep(0)
        state.log.append("close")

    return thing


def _on_a_loop(state: State, *askers: Callable[[], Any]) -> Callable[[], Any]:
    async def body() -> None:
        asking = [asyncio.ensure_future(ask()) for ask in askers]
        state.seen = await asyncio.gather(*asking, return_exceptions=True)
        await state.thing.aclose(timeout_s=math.inf)  # or the time may be up at any moment

    return body


def _closed_once(state: State) -> None:
    assert state.log in ([], ["open", "close"]), state.log
    assert (registry._opened(), state.thing._once.cells) == ({}, {})


def resource_left_by_tasks() -> Scenario:
    """Tasks that are cancelled while they wait take the value from nobody, nor leave it open."""

    async def traffic(state: State) -> None:
        state.thing = resource(_async_generator(state))

        async def leaves() -> Any:
            asking = asyncio.ensure_future(state.thing())
            await asyncio.sleep(0)
            asking.cancel()
            return await asking

        await repeatable(_on_a_loop(state, state.thing, leaves))

    def the_other_has_it(state: State) -> None:
        _closed_once(state)
        assert state.seen[0] == "value", state.seen
        assert state.seen[1] == "value" or isinstance(state.seen[1], asyncio.CancelledError)

    return Scenario(_nothing_open, (traffic,), the_other_has_it, _WATCHED)


def resource_opened_by_threads_and_tasks() -> Scenario:
    """A thread and a task wait for one opening on the loop."""

    async def traffic(state: State) -> None:
        state.thing = resource(_async_generator(state))
        set_worker_loop(_sync.current_home())

        async def asks_in_a_thread() -> Any:
            return await _sync.offload(state.thing.get)

        await repeatable(_on_a_loop(state, state.thing, asks_in_a_thread))

    def both_have_it(state: State) -> None:
        _closed_once(state)
        assert state.seen == ["value", "value"], state.seen

    return Scenario(_nothing_open, (traffic,), both_have_it, _WATCHED, Budget(preemptions=1))
