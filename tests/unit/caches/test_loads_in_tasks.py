"""Tasks that want one value at once, on one loop, on several, and beside threads."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
import weakref
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from lmi_runtime.caches import Cache, Loaded
from lmi_runtime.context import peek
from lmi_runtime.errors import LoadCancelled, LoadTimeout, ReentrantLoad
from tests.support.patience import PATIENCE_S
from tests.unit.caches.tools import AsyncGate, Call, Gate, SetClock, auntil, serve, until

pytestmark = pytest.mark.anyio


async def never() -> Any:
    raise AssertionError("nobody should have called this loader")


class Crowd:
    """Tasks that each ask once, and can each be cancelled."""

    def __init__(self, cache: Cache[Any], group: anyio.abc.TaskGroup) -> None:
        self.cache = cache
        self.results: dict[int, Any] = {}
        self.scopes: list[anyio.CancelScope] = []
        self._group = group

    def ask(self, loader: Any, count: int = 1, **options: Any) -> None:
        """Begin `count` tasks that ask for the same."""
        for _ in range(count):
            scope = anyio.CancelScope()
            self.scopes.append(scope)
            self._group.start_soon(self._ask, len(self.scopes) - 1, scope, loader, options)

    async def _ask(self, number: int, scope: Any, loader: Any, options: Any) -> None:
        with scope:
            try:
                self.results[number] = await self.cache.aget_or_load("k", loader, **options)
            except Exception as error:
                self.results[number] = error


async def test_one_loads_for_all() -> None:
    cache: Cache[str] = Cache()
    gate = AsyncGate()
    async with anyio.create_task_group() as group:
        crowd = Crowd(cache, group)
        crowd.ask(gate.load, 64)
        await auntil(lambda: cache.statistics().joined == 63)
        gate.go()

    assert list(crowd.results.values()) == ["loaded"] * 64
    assert gate.calls == 1
    assert await cache.aget_or_load("k", never) == "loaded"


async def test_one_failure_for_all_and_an_exception_each() -> None:
    cache: Cache[str] = Cache()
    gate = AsyncGate(error=OSError("broken"))
    async with anyio.create_task_group() as group:
        crowd = Crowd(cache, group)
        crowd.ask(gate.load, 64)
        await auntil(lambda: cache.statistics().joined == 63)
        gate.go()

    assert gate.calls == 1
    assert {str(error) for error in crowd.results.values()} == {"broken"}
    assert len({id(error) for error in crowd.results.values()}) == 64
    gate.error = None
    assert await cache.aget_or_load("k", gate.load) == "loaded"


async def test_the_first_one_cancelled_leaves_the_others_alone() -> None:
    cache: Cache[str] = Cache()
    gate = AsyncGate()
    async with anyio.create_task_group() as group:
        crowd = Crowd(cache, group)
        crowd.ask(gate.load)
        await gate.wait_begun()
        crowd.ask(gate.load, 63)
        await auntil(lambda: cache.statistics().joined == 63)
        crowd.scopes[0].cancel()
        await anyio.wait_all_tasks_blocked()
        gate.go()

    assert crowd.results == {number: "loaded" for number in range(1, 64)}
    assert (gate.calls, gate.cancelled) == (1, 0)


async def test_the_last_one_to_leave_cancels_the_load() -> None:
    cache: Cache[str] = Cache()
    gate = AsyncGate()
    async with anyio.create_task_group() as group:
        crowd = Crowd(cache, group)
        crowd.ask(gate.load, 3)
        await gate.wait_begun()
        await auntil(lambda: cache.statistics().joined == 2)
        for scope in crowd.scopes:
            assert gate.cancelled == 0
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
        await auntil(lambda: gate.cancelled == 1)

    assert crowd.results == {}
    assert cache.statistics().loads_cancelled == 1
    assert cache.statistics().loading == 0
    assert await cache.aget_or_load("k", lambda: "new") == "new"


async def test_who_comes_while_a_load_is_being_cancelled_begins_a_new_one() -> None:
    """A cancelled load may take its time to end; nobody is tied to it."""
    cache: Cache[str] = Cache()
    cancelled, let_go = anyio.Event(), anyio.Event()

    async def slow_to_end() -> str:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            cancelled.set()
            with anyio.CancelScope(shield=True):
                await let_go.wait()
            raise
        return "never"

    async with anyio.create_task_group() as group:
        crowd = Crowd(cache, group)
        crowd.ask(slow_to_end)
        await auntil(lambda: cache.statistics().loading == 1)
        await anyio.wait_all_tasks_blocked()
        crowd.scopes[0].cancel()
        await cancelled.wait()
        assert await cache.aget_or_load("k", lambda: "new") == "new"
        let_go.set()

    await anyio.wait_all_tasks_blocked()
    assert cache.get("k") == "new"


async def test_a_value_that_a_cancelled_load_brings_all_the_same_is_not_kept() -> None:
    cache: Cache[str] = Cache()
    ended = anyio.Event()

    async def stubborn() -> str:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            ended.set()
        return "late"

    async with anyio.create_task_group() as group:
        crowd = Crowd(cache, group)
        crowd.ask(stubborn)
        await auntil(lambda: cache.statistics().loading == 1)
        await anyio.wait_all_tasks_blocked()
        crowd.scopes[0].cancel()
        await ended.wait()
    await anyio.wait_all_tasks_blocked()

    assert "k" not in cache
    assert await cache.aget_or_load("k", lambda: "new") == "new"


async def test_nobody_waits_longer_than_their_time_out() -> None:
    cache: Cache[str] = Cache()
    gate = AsyncGate()
    async with anyio.create_task_group() as group:
        crowd = Crowd(cache, group)
        crowd.ask(gate.load, timeout_s=0.01)
        crowd.ask(gate.load)  # joins on the same turn of the loop, before time can be up
        await gate.wait_begun()
        await auntil(lambda: len(crowd.results) == 1)
        gate.go()

    assert isinstance(crowd.results[0], LoadTimeout)
    assert crowd.results[1] == "loaded"


async def test_nobody_waits_longer_than_their_request() -> None:
    cache: Cache[str] = Cache()
    gate = AsyncGate()

    async def in_a_request() -> None:
        serve(deadline_s=time.monotonic() + 0.01)
        with pytest.raises(LoadTimeout):
            await cache.aget_or_load("k", gate.load)

    async with anyio.create_task_group() as group:
        group.start_soon(in_a_request)
    await auntil(lambda: gate.cancelled == gate.calls)


async def test_what_outlives_its_request_has_no_deadline_of_it() -> None:
    cache: Cache[str] = Cache()

    async def load() -> str:
        await anyio.lowlevel.checkpoint()
        return "loaded"

    request = serve(deadline_s=time.monotonic() - 1)
    with pytest.raises(LoadTimeout):
        await cache.aget_or_load("k", load)
    request.end()

    assert await cache.aget_or_load("k", load) == "loaded"


async def test_two_with_one_deadline_leave_no_error_for_later() -> None:
    """Both time out at once; a call after that is healthy."""
    cache: Cache[str] = Cache()
    gate = AsyncGate()

    async def ask() -> None:
        with anyio.move_on_after(0.01):
            await cache.aget_or_load("k", gate.load)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        group.start_soon(ask)

    assert await cache.aget_or_load("k", lambda: "fine") == "fine"


async def test_a_load_knows_nothing_of_the_request_that_began_it() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nobody's")
    cache: Cache[Any] = Cache()

    async def loader() -> Any:
        return peek(), variable.get()

    variable.set("mine")
    serve("mine")
    assert await cache.aget_or_load("async", loader) == (None, "nobody's")
    assert await cache.aget_or_load("def", lambda: (peek(), variable.get())) == (None, "nobody's")


async def test_the_deadline_of_the_first_ones_scope_is_its_own() -> None:
    cache: Cache[str] = Cache()
    gate = AsyncGate()
    async with anyio.create_task_group() as group:
        crowd = Crowd(cache, group)

        scope = anyio.CancelScope()

        async def first() -> None:
            with scope:
                await cache.aget_or_load("k", gate.load)
            assert scope.cancelled_caught
            gate.go()

        group.start_soon(first)
        await gate.wait_begun()
        crowd.ask(gate.load, 3)
        await auntil(lambda: cache.statistics().joined == 3)
        scope.deadline = anyio.current_time()

    assert list(crowd.results.values()) == ["loaded"] * 3


async def test_a_def_loader_runs_in_a_thread() -> None:
    cache: Cache[int] = Cache()

    assert await cache.aget_or_load("k", threading.get_ident) != threading.get_ident()


async def test_a_lambda_may_return_an_awaitable() -> None:
    cache: Cache[int] = Cache()

    async def load(n: int) -> int:
        return n

    assert await cache.aget_or_load("k", lambda: load(3)) == 3


async def test_an_object_with_an_async_call_is_a_loader_for_tasks() -> None:
    class Loader:
        async def __call__(self) -> Any:
            return threading.get_ident()

    assert await Cache[Any]().aget_or_load("k", Loader()) == threading.get_ident()


# What is said during a load wins.


@pytest.mark.parametrize("what", ["delete", "clear", "set", "tag", "unknown tag"])
async def test_what_is_said_during_a_load_wins(what: str) -> None:
    cache: Cache[str] = Cache()
    gate = AsyncGate(Loaded(value="loaded", tags=["t"]))
    async with anyio.create_task_group() as group:
        crowd = Crowd(cache, group)
        crowd.ask(gate.load, 2, tags=["t"] if what == "tag" else [])
        await gate.wait_begun()
        if what == "delete":
            cache.delete("k")
        elif what == "clear":
            cache.clear()
        elif what == "set":
            cache.set("k", "later")
        else:
            cache.invalidate(tag="t")
        crowd.ask(lambda: "later")
        if what == "unknown tag":
            await auntil(lambda: cache.statistics().joined == 2)
        else:
            await auntil(lambda: crowd.results.get(2) == "later")
        gate.go()

    assert crowd.results == {0: "loaded", 1: "loaded", 2: "later"}
    assert cache.get("k") == "later"


async def test_a_refresh_is_a_task_that_nobody_waits_for() -> None:
    clock = SetClock()
    cache: Cache[str] = Cache(ttl_s=10, stale_s=10, clock=clock.clock)
    cache.set("k", "old")
    clock.pass_(11)
    gate = AsyncGate("new")

    with anyio.CancelScope() as scope:
        assert await cache.aget_or_load("k", gate.load) == "old"
        scope.cancel()
    await gate.wait_begun()
    assert await cache.aget_or_load("k", gate.load) == "old"
    gate.go()
    await auntil(lambda: cache.get("k") == "new")

    assert (gate.calls, gate.cancelled) == (1, 0)


async def test_who_joins_a_refresh_and_leaves_does_not_cancel_it() -> None:
    clock = SetClock()
    cache: Cache[str] = Cache(ttl_s=10, stale_s=10, clock=clock.clock)
    cache.set("k", "old")
    clock.pass_(11)
    gate = AsyncGate("new")
    await cache.aget_or_load("k", gate.load)
    await gate.wait_begun()
    clock.pass_(10)

    with pytest.raises(LoadTimeout):
        await cache.aget_or_load("k", gate.load, timeout_s=0.01)
    gate.go()
    await auntil(lambda: cache.get("k") == "new")
    assert gate.cancelled == 0


# Loads that need themselves.


async def test_a_load_that_needs_itself_is_told_so() -> None:
    cache: Cache[Any] = Cache()

    async def loader() -> Any:
        return await cache.aget_or_load("k", loader)

    with pytest.raises(ReentrantLoad):
        await cache.aget_or_load("k", loader)


async def test_a_child_task_of_the_load_is_part_of_it() -> None:
    cache: Cache[Any] = Cache()
    errors = []

    async def loader() -> Any:
        async def child() -> None:
            try:
                await cache.aget_or_load("k", never)
            except ReentrantLoad as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(child)
        return "loaded"

    assert await cache.aget_or_load("k", loader) == "loaded"
    assert len(errors) == 1


async def test_a_ring_over_caches_tasks_and_threads_is_told_so() -> None:
    """A needs B in a task, B needs C in a thread, C needs A."""
    cache: Cache[Any] = Cache()
    other: Cache[Any] = Cache()

    async def a() -> Any:
        return await other.aget_or_load("b", b)

    def b() -> Any:
        return cache.get_or_load("c", lambda: cache.get_or_load("a", lambda: 1))

    with pytest.raises(ReentrantLoad):
        await cache.aget_or_load("a", a)


async def test_loads_may_need_other_values() -> None:
    cache: Cache[int] = Cache()

    async def get(n: int) -> int:
        async def load() -> int:
            return 1 if n < 2 else await get(n - 1) + await get(n - 2)

        return await cache.aget_or_load(n, load)

    assert await get(15) == 987
    assert cache.statistics().loads == 16


# asyncio's own.


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_load_whose_own_task_was_cancelled_by_someone_is_a_failure_for_all() -> None:
    """What waits for the load must not look cancelled itself, now or later."""
    cache: Cache[Any] = Cache()
    inner: list[asyncio.Future[None]] = []

    async def loader() -> Any:
        inner.append(asyncio.get_running_loop().create_future())
        await inner[0]

    tasks = [asyncio.create_task(cache.aget_or_load("k", loader)) for _ in range(3)]
    await auntil(lambda: inner)
    inner[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(result) for result in results] == [LoadCancelled] * 3
    assert len(inner) == 1
    assert await cache.aget_or_load("k", lambda: "fine") == "fine"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_one_who_is_cancelled_twice_leaves_once() -> None:
    cache: Cache[str] = Cache()
    gate = AsyncGate()
    first = asyncio.create_task(cache.aget_or_load("k", gate.load))
    await gate.wait_begun()
    second = asyncio.create_task(cache.aget_or_load("k", gate.load))
    await auntil(lambda: cache.statistics().joined == 1)
    first.cancel()
    first.cancel()
    await asyncio.wait([first])
    first.cancel()
    gate.go()

    assert await second == "loaded"
    assert first.cancelled()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_exit_in_a_load_is_raised_where_it_was_asked_for() -> None:
    cache: Cache[str] = Cache()

    async def exits() -> str:
        raise SystemExit(3)

    async def ask() -> object:
        try:
            return await cache.aget_or_load("k", exits)
        except SystemExit as error:
            return error.code

    first = asyncio.create_task(ask())
    await asyncio.sleep(0)
    second = asyncio.create_task(cache.aget_or_load("k", lambda: "fine"))

    assert await first == 3
    assert await second == "fine"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_error_leaves_no_garbage_behind() -> None:
    class Thing:
        pass

    watched: list[Any] = []

    async def loader() -> Any:
        thing = Thing()
        watched.append(weakref.ref(thing))
        raise OSError("broken")

    cache: Cache[Any] = Cache()
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(OSError):
            await cache.aget_or_load("k", loader)
        await asyncio.sleep(0)
        assert watched[0]() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="not run: from 3.12 on")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_tasks_may_begin_eagerly() -> None:
    """Then a load runs, and may end, before whoever began it knows its task."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    cache: Cache[str] = Cache()

    async def at_once() -> str:
        return "loaded"

    async def later() -> str:
        await asyncio.sleep(0)
        return "loaded"

    assert await cache.aget_or_load("at once", at_once) == "loaded"
    assert await asyncio.gather(*(cache.aget_or_load("k", later) for _ in range(8))) == (
        ["loaded"] * 8
    )
    assert cache.statistics().loads == 2


# Several loops, and threads.


def test_four_loops_and_threads_share_one_load() -> None:
    cache: Cache[str] = Cache()
    gate = Gate()

    def loop() -> Any:
        async def main() -> Any:
            return await asyncio.gather(*(cache.aget_or_load("k", gate) for _ in range(16)))

        return asyncio.run(main())

    calls = [Call(loop) for _ in range(4)]
    calls += [Call(lambda: [cache.get_or_load("k", gate)]) for _ in range(4)]
    until(lambda: cache.statistics().joined == 4 * 16 + 4 - 1)
    gate.go()

    results = [call.result() for call in calls]
    assert {value for values in results for value in values} == {"loaded"}
    assert gate.calls == 1


def test_a_loop_that_ends_leaves_its_load_to_another() -> None:
    """asyncio.run() cancels what is left; a thread and another loop still want the value."""
    cache: Cache[str] = Cache()
    ends = threading.Event()
    began = threading.Event()

    async def never_ends() -> str:
        began.set()
        await asyncio.sleep(1_000)
        return "never"

    async def short() -> None:
        task = asyncio.ensure_future(cache.aget_or_load("k", never_ends))
        await auntil(ends.is_set)
        assert not task.done()

    async def long() -> str:
        async def load() -> str:
            return "from another loop"

        return await cache.aget_or_load("k", load)

    ending = Call(lambda: asyncio.run(short()))
    assert began.wait(PATIENCE_S)
    waiting = [Call(lambda: asyncio.run(long())) for _ in range(3)]
    until(lambda: cache.statistics().joined == 3)
    ends.set()

    ending.result()
    assert [call.result() for call in waiting] == ["from another loop"] * 3
    assert cache.statistics().loads_taken_over == 1


def test_a_loop_that_is_closed_without_a_word_leaves_its_load_to_whoever_comes() -> None:
    """Nothing is cancelled when a loop is just closed; its load would never end."""
    cache: Cache[str] = Cache()
    began = []

    async def never_ends() -> str:
        began.append(1)
        await asyncio.sleep(1_000)
        return "never"

    async def start() -> None:
        task = asyncio.ensure_future(cache.aget_or_load("k", never_ends))
        await auntil(lambda: began)
        tasks.append(task)

    tasks: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(start())

    found = cache.get_or_load("k", lambda: "found")

    assert found == "found"
    tasks[0].cancel()
    loop.run_until_complete(asyncio.wait(tasks))
    loop.close()
    assert cache.get("k") == "found"


def test_those_who_wait_notice_a_loop_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmi_runtime.caches.flights.PATROL_S", 0.01)
    cache: Cache[str] = Cache()
    began = threading.Event()
    stop = threading.Event()

    async def never_ends() -> str:
        began.set()
        await asyncio.sleep(1_000)
        return "never"

    async def main() -> None:
        tasks.append(asyncio.ensure_future(cache.aget_or_load("k", never_ends)))
        await auntil(stop.is_set)

    tasks: list[Any] = []
    loop = asyncio.new_event_loop()
    running = Call(lambda: loop.run_until_complete(main()))
    assert began.wait(PATIENCE_S)
    waiting = Call(lambda: cache.get_or_load("k", lambda: "found"))
    until(lambda: cache.statistics().joined == 1)
    stop.set()
    running.result()

    assert waiting.result() == "found"
    tasks[0].cancel()
    loop.run_until_complete(asyncio.wait(tasks))
    loop.close()


def test_a_refresh_of_a_loop_that_is_gone_is_begun_again() -> None:
    clock = SetClock()
    cache: Cache[str] = Cache(ttl_s=10, stale_s=100, clock=clock.clock)
    cache.set("k", "old")
    clock.pass_(11)

    async def never_ends() -> str:
        await asyncio.sleep(1_000)
        return "never"

    async def main() -> str:
        return await cache.aget_or_load("k", never_ends)

    assert asyncio.run(main()) == "old"
    assert cache.get_or_load("k", lambda: "new") == "old"
    until(lambda: cache.get("k") == "new")


def test_the_last_one_to_leave_may_be_on_another_loop() -> None:
    cache: Cache[str] = Cache()
    gate_began, cancelled, go_home = threading.Event(), threading.Event(), threading.Event()

    async def load() -> str:
        gate_began.set()
        try:
            await asyncio.sleep(1_000)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return "never"

    async def first() -> None:
        task = asyncio.ensure_future(cache.aget_or_load("k", load))
        await auntil(lambda: cache.statistics().joined)
        task.cancel()
        await auntil(go_home.is_set)

    async def second() -> None:
        task = asyncio.ensure_future(cache.aget_or_load("k", load))
        await asyncio.sleep(0.02)
        assert not cancelled.is_set()
        task.cancel()

    one = Call(lambda: asyncio.run(first()))
    assert gate_began.wait(PATIENCE_S)
    Call(lambda: asyncio.run(second())).result()
    assert cancelled.wait(PATIENCE_S)
    go_home.set()
    one.result()
