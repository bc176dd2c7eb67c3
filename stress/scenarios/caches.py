"""One value, many callers: who loads, who waits, and what is kept at the end."""

from __future__ import annotations

import asyncio
from typing import Any

from lmi_runtime.caches import Cache, Loaded
from lmi_runtime.errors import ReentrantLoad
from lmi_runtime.stress.oracles.linearizability import History, linearizable, model_of, recorded
from stress.scenarios.scenario import Budget, Scenario, State

__all__ = [
    "cancelled_callers",
    "eviction_and_hits",
    "failing_load",
    "history_of_values",
    "load_and_invalidate",
    "load_and_late_tag",
    "one_load",
    "ring_of_loads",
    "tasks_beside_threads",
]

_WATCHED = ("lmi_runtime.caches",)


def _with_cache(**options: Any) -> Any:
    def setup() -> State:
        state = State()
        state.cache = Cache(**options)
        state.version = state.cancelled = 0
        state.loads = []
        state.seen = []
        return state

    return setup


def _nothing_left(state: State) -> None:
    """What must hold whenever nobody waits any more."""
    flights = state.cache._flights
    assert flights.table == {}, flights.table
    shelf = state.cache._kept.storage
    assert len(shelf) == sum(line.size for line in shelf._lines.values())


def one_load() -> Scenario:
    """Three threads that want one value: one load, whoever comes when."""

    def asks(state: State) -> None:
        def loader() -> str:
            state.loads.append(1)
            return "value"

        state.seen.append(state.cache.get_or_load("k", loader))

    def once(state: State) -> None:
        _nothing_left(state)
        assert state.loads == [1], state.loads
        assert state.seen == ["value"] * 3, state.seen

    return Scenario(_with_cache(), (asks, asks, asks), once, _WATCHED, Budget(preemptions=1))


def failing_load() -> Scenario:
    """The load fails: all are told, none hangs, and the key is as good as new."""

    def asks(state: State) -> None:
        def loader() -> str:
            state.loads.append(1)
            raise LookupError(len(state.loads))

        try:
            state.cache.get_or_load("k", loader)
        except LookupError as error:
            state.seen.append(error)

    def as_good_as_new(state: State) -> None:
        _nothing_left(state)
        first, second = state.seen
        assert first is not second
        assert state.cache.get_or_load("k", lambda: "value") == "value"

    return Scenario(_with_cache(), (asks, asks), as_good_as_new, _WATCHED)


def load_and_invalidate() -> Scenario:
    """What is kept is never older than the last invalidation, nor is what is given after it."""

    def asks(state: State) -> None:
        state.cache.get_or_load("k", lambda: state.version)

    def changes(state: State) -> None:
        state.version = 1
        state.cache.delete("k")
        state.seen.append(state.cache.get_or_load("k", lambda: state.version))

    def new(state: State) -> None:
        _nothing_left(state)
        assert state.seen == [1], state.seen
        assert state.cache.get("k") == 1, state.cache.get("k")

    return Scenario(_with_cache(), (asks, changes), new, _WATCHED)


def load_and_late_tag() -> Scenario:
    """The same when only the loader knows the tag that is invalidated."""

    def load(state: State) -> Any:
        return Loaded(value=state.version, tags=["t"])

    def asks(state: State) -> None:
        state.cache.get_or_load("k", lambda: load(state))

    def changes(state: State) -> None:
        state.version = 1
        state.cache.invalidate(tag="t")
        state.seen.append(state.cache.get_or_load("k", lambda: load(state)))

    def new(state: State) -> None:
        _nothing_left(state)
        assert state.seen == [1], state.seen
        assert state.cache.get("k") in (None, 1), state.cache.get("k")

    return Scenario(_with_cache(), (asks, changes), new, _WATCHED)


def ring_of_loads() -> Scenario:
    """A needs B, B needs A, begun by two threads: somebody is told, nobody hangs."""

    def asks(state: State, mine: str, other: str) -> None:
        def leaf() -> str:
            return state.cache.get_or_load(mine, lambda: "leaf")

        try:
            found = state.cache.get_or_load(mine, lambda: state.cache.get_or_load(other, leaf))
        except ReentrantLoad:
            found = None
        state.seen.append(found)

    def told(state: State) -> None:
        _nothing_left(state)
        assert None in state.seen, state.seen

    def a(state: State) -> None:
        asks(state, "a", "b")

    def b(state: State) -> None:
        asks(state, "b", "a")

    return Scenario(_with_cache(), (a, b), told, _WATCHED, Budget(preemptions=1))


def eviction_and_hits() -> Scenario:
    """Hits take no lock, while eviction walks over their marks: all adds up."""

    def writes(state: State) -> None:
        for key in "ab":
            state.cache.set(key, key)

    def reads(state: State) -> None:
        for key in "ab":
            state.seen.append((key, state.cache.get(key, key)))

    def adds_up(state: State) -> None:
        _nothing_left(state)
        assert len(state.cache) == 1
        assert all(key == value for key, value in state.seen), state.seen

    return Scenario(_with_cache(max_size=1), (writes, reads), adds_up, _WATCHED)


class Register:
    """What a cache of one key is to those who use it one at a time."""

    def __init__(self) -> None:
        self.value: Any = None

    def get(self, key: str) -> Any:
        """See `Cache`."""
        return self.value

    def set(self, key: str, value: Any) -> None:
        """See `Cache`."""
        self.value = value

    def delete(self, key: str) -> bool:
        """See `Cache`."""
        before, self.value = self.value, None
        return before is not None


def history_of_values() -> Scenario:
    """There is always an order, one call after the other, that explains what all have seen."""

    def setup() -> State:
        state = State()
        state.cache = Cache()
        state.history = History()
        state.recorded = recorded(state.cache, state.history, ["get", "set", "delete"])
        return state

    def writes(state: State) -> None:
        state.recorded.set("k", 1)
        state.recorded.get("k")
        state.recorded.delete("k")

    def reads(state: State) -> None:
        state.recorded.set("k", 2)
        state.recorded.get("k")

    def explained(state: State) -> None:
        answer = linearizable(state.history.operations, model_of(Register))
        assert answer.ok or answer.given_up, answer.sentence

    return Scenario(setup, (writes, reads), explained, _WATCHED)


def cancelled_callers() -> Scenario:
    """Tasks cancelled wherever they wait: who is not gets the value, and no load is left over."""

    async def asks(state: State) -> None:
        async def loader() -> str:
            await asyncio.sleep(0.01)
            return "value"

        state.seen.append(await state.cache.aget_or_load("k", loader))

    def fine(state: State) -> None:
        _nothing_left(state)
        assert set(state.seen) <= {"value"}, state.seen
        assert len(state.seen) + state.cancelled == 2

    async def counted(state: State) -> None:
        try:
            await asks(state)
        except asyncio.CancelledError:
            state.cancelled += 1
            raise

    return Scenario(_with_cache(), (counted,) * 2, fine, _WATCHED, cancels=True)


def tasks_beside_threads() -> Scenario:
    """A thread and a task want one value: one load, whoever begins it."""

    def load(state: State) -> str:
        state.loads.append(1)
        return "value"

    def thread(state: State) -> None:
        state.seen.append(state.cache.get_or_load("k", lambda: load(state)))

    async def task(state: State) -> None:
        async def loader() -> str:
            return load(state)

        state.seen.append(await state.cache.aget_or_load("k", loader))

    def once(state: State) -> None:
        _nothing_left(state)
        assert state.loads == [1], state.loads
        assert state.seen == ["value"] * 2, state.seen

    return Scenario(_with_cache(), (thread, task), once, _WATCHED, Budget(preemptions=1))
