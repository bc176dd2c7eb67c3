"""A pool as tasks use it, on every kind of loop, beside threads, and on loops that end."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

from lmi_runtime import _sync
from lmi_runtime.errors import PoolClosed, PoolTimeout
from lmi_runtime.pools.keeper import keeper
from lmi_runtime.pools.model import Permit
from lmi_runtime.pools.pool import Pool
from tests.support.connections import Connection, Server
from tests.support.patience import PATIENCE_S

MakePool = Callable[..., Pool[Connection]]

anyio_kinds = pytest.mark.parametrize(
    "anyio_backend",
    [
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ],
)
blocked = anyio.wait_all_tasks_blocked


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def make_pool(server: Server) -> Iterator[MakePool]:
    pools = []

    def make(connector: Any = None, **options: Any) -> Pool[Connection]:
        options.setdefault("housekeeping", False)
        options.setdefault("max_size", 1)
        pools.append(Pool(connector or server.for_tasks(), **options))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close(0)
    keeper().forget()  # or the next test would hear of them


def tend(pool: Pool[Any], later_s: float = 0.0) -> None:
    pool._engine.attendant.tend(_sync.monotonic() + later_s)


class Gate:
    """Closed for tasks of one loop until it is opened."""

    def __init__(self) -> None:
        self.event = anyio.Event()

    async def __call__(self) -> None:
        await self.event.wait()

    def open(self) -> None:
        self.event.set()


class Permits:
    """A budget of `size`; `released` knows what came back."""

    def __init__(self, size: int) -> None:
        self.free = _sync.Semaphore(size)
        self.released: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.waits: queue.SimpleQueue[None] = queue.SimpleQueue()

    def try_acquire(self) -> Permit | None:
        return _Permit(self) if self.free.acquire(blocking=False) else None

    def acquire(self, give_up: Callable[[], bool], owner: object = None) -> Permit | None:
        self.waits.put(None)
        while not give_up():
            if self.free.acquire(timeout=0.002):
                return _Permit(self)
        return None

    def others_wait(self, owner: object = None) -> bool:
        return False


class _Permit:
    def __init__(self, permits: Permits) -> None:
        self._permits: Permits | None = permits

    def release(self) -> None:
        permits, self._permits = self._permits, None
        if permits is not None:
            permits.free.release()
            permits.released.put(None)


# ------------------------------------------------------------------- on one loop


@anyio_kinds
@pytest.mark.anyio
async def test_whoever_came_first_is_served_first(make_pool: MakePool) -> None:
    pool = make_pool()
    order: list[int] = []

    async def borrow(number: int) -> None:
        async with pool.lease() as connection:
            with connection.used():
                order.append(number)
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks, pool.lease():
        for number in range(8):
            tasks.start_soon(borrow, number)
            await blocked()

    assert order == list(range(8))


@anyio_kinds
@pytest.mark.anyio
@pytest.mark.parametrize("first", ["cancel", "release"])
async def test_a_connection_handed_to_a_task_that_is_cancelled_goes_to_the_next(
    make_pool: MakePool, first: str
) -> None:
    pool = make_pool()
    got: list[str] = []
    scope = anyio.CancelScope()

    async def cancelled() -> None:
        with scope:
            async with pool.lease():
                got.append("cancelled")

    async def next_one() -> None:
        async with pool.lease(timeout_s=10):
            got.append("next")

    async with anyio.create_task_group() as tasks:
        holder = pool.lease()
        await holder.aacquire()
        tasks.start_soon(cancelled)
        await blocked()
        tasks.start_soon(next_one)
        await blocked()
        if first == "cancel":
            scope.cancel()
            await holder.arelease()
        else:
            await holder.arelease()
            scope.cancel()

    assert got[-1] == "next"
    facts = pool.statistics()
    assert (facts.lent, facts.waiting, facts.opened - facts.open) == (0, 0, facts.closed_broken)


@anyio_kinds
@pytest.mark.anyio
async def test_a_time_out_and_a_hand_off_at_once_lose_nothing(make_pool: MakePool) -> None:
    pool = make_pool()
    holder = pool.lease()
    await holder.aacquire()
    outcomes: list[bool] = []

    async def hasty() -> None:
        try:
            async with pool.lease(timeout_s=0.001):
                outcomes.append(True)
        except PoolTimeout:
            outcomes.append(False)

    for _ in range(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hasty)
            await anyio.sleep(0.001)
            await holder.arelease()
        await holder.aacquire()

    assert len(outcomes) == 20
    await holder.arelease()
    async with pool.lease(timeout_s=1):
        pass
    assert pool.statistics().opened == 1


@anyio_kinds
@pytest.mark.anyio
async def test_nobodys_cancellation_stops_an_opening(make_pool: MakePool, server: Server) -> None:
    gate = Gate()
    server.on_open = None
    connector = server.for_tasks()
    opened = connector.open

    async def open_slowly() -> Connection:
        await gate()
        return await opened()  # type: ignore[misc]

    pool = make_pool(replace(connector, open=open_slowly))
    scope = anyio.CancelScope()
    got: list[int] = []

    async def first() -> None:
        with scope:
            await pool.lease().aacquire()

    async def second() -> None:
        async with pool.lease() as connection:
            got.append(connection.number)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await blocked()
        tasks.start_soon(second)
        await blocked()
        scope.cancel()
        await blocked()
        gate.open()

    assert got == [1]
    assert pool.statistics().cancelled == 1


@anyio_kinds
@pytest.mark.anyio
async def test_an_opening_that_takes_too_long_is_a_failure(
    make_pool: MakePool, server: Server
) -> None:
    async def never() -> Connection:
        await anyio.sleep_forever()
        raise AssertionError

    pool = Pool(never, max_size=1, open_timeout_s=0.01, housekeeping=False)

    with pytest.raises(TimeoutError):
        await pool.lease().aacquire()


@anyio_kinds
@pytest.mark.anyio
async def test_what_opening_raises_is_heard_and_tried_again(
    make_pool: MakePool, server: Server
) -> None:
    server.failures = [OSError("refused")]
    pool = make_pool()

    with pytest.raises(OSError, match="refused"):
        await pool.lease().aacquire()
    async with pool.lease() as connection:
        assert connection.number == 1


@anyio_kinds
@pytest.mark.anyio
async def test_a_cancelled_block_costs_the_connection(make_pool: MakePool, server: Server) -> None:
    pool = make_pool()
    with anyio.CancelScope() as scope:
        async with pool.lease():
            scope.cancel()
            await anyio.sleep_forever()
    await blocked()

    assert server.log == ["close 1"]
    async with pool.lease() as connection:
        assert connection.number == 2


@anyio_kinds
@pytest.mark.anyio
async def test_a_cancelled_block_may_cost_a_reset_only(make_pool: MakePool, server: Server) -> None:
    """Which nobody cancels a second time."""
    gate = Gate()
    server.on_reset = None
    connector = server.for_tasks(reset=True)
    did_reset = connector.reset
    assert did_reset is not None

    async def reset_slowly(connection: Connection) -> None:
        await gate()
        await did_reset(connection)

    pool = make_pool(replace(connector, reset=reset_slowly), reset_after_cancel=True)

    async def body() -> None:
        async with pool.lease():
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(body)
        await blocked()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
            await anyio.lowlevel.checkpoint()
            gate.open()

    assert server.log == ["reset 1"]
    assert pool.statistics().idle == 1


@anyio_kinds
@pytest.mark.anyio
async def test_a_look_that_is_cancelled_loses_no_room(make_pool: MakePool, server: Server) -> None:
    connector = server.for_tasks(check=True)

    async def check_for_ever(_: Connection) -> None:
        await anyio.sleep_forever()

    pool = make_pool(replace(connector, check=check_for_ever), bypass_check_s=0.0)
    with anyio.move_on_after(0.05):
        await pool.lease().aacquire()
    await blocked()

    facts = pool.statistics()
    assert (facts.lent, facts.waiting) == (0, 0)


@anyio_kinds
@pytest.mark.anyio
async def test_aclose_waits_for_what_is_lent_and_answers_who_waits(
    make_pool: MakePool, server: Server
) -> None:
    pool = make_pool()
    lease = pool.lease()
    await lease.aacquire()
    refused: list[bool] = []

    async def waits() -> None:
        with pytest.raises(PoolClosed):
            await pool.lease().aacquire()
        refused.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waits)
        await blocked()
        tasks.start_soon(pool.aclose, 10.0)
        await blocked()
        assert refused == [True]
        assert server.log == []
        await lease.arelease()

    assert server.log == ["close 1"]


@anyio_kinds
@pytest.mark.anyio
async def test_threads_and_tasks_stand_in_one_line(server: Server) -> None:
    pool = Pool(server.for_threads(), max_size=1, housekeeping=False)
    order: list[int] = []

    async def task(number: int) -> None:
        async with pool.lease():
            order.append(number)

    def thread(number: int) -> None:
        with pool.lease():
            order.append(number)

    def in_line(count: int) -> None:
        while pool.statistics().waiting < count:
            _sync.sleep(0)

    threads = []
    async with anyio.create_task_group() as tasks, pool.lease():
        for number in range(6):
            if number % 2:
                threads.append(threading.Thread(target=thread, args=(number,)))
                threads[-1].start()
            else:
                tasks.start_soon(task, number)
            await anyio.to_thread.run_sync(in_line, number + 1)
    for each in threads:
        await anyio.to_thread.run_sync(each.join, PATIENCE_S)

    assert order == list(range(6))
    await pool.aclose()


@anyio_kinds
@pytest.mark.anyio
async def test_a_goodbye_that_takes_too_long_is_cut_off(
    make_pool: MakePool, server: Server
) -> None:
    async def never(_: Connection) -> None:
        await anyio.sleep_forever()

    pool = make_pool(replace(server.for_tasks(), close=never), io_timeout_s=0.01)
    async with pool.lease():
        pass

    await pool.aclose(10.0)

    assert server.log == ["abandon 1"]


# ------------------------------------------------------------------ loops that end


def on_asyncio(function: Callable[[], Any]) -> None:
    asyncio.run(function())


def on_trio(function: Callable[[], Any]) -> None:
    trio.run(function)


kinds = pytest.mark.parametrize("run", [on_asyncio, on_trio])
Run = Callable[[Callable[[], Any]], None]


@kinds
def test_each_loop_has_connections_of_its_own(
    make_pool: MakePool, server: Server, run: Run
) -> None:
    pool = make_pool(max_size=1)
    seen: list[int] = []

    async def once() -> None:
        for _ in range(2):
            async with pool.lease(timeout_s=5) as connection:
                seen.append(connection.number)

    for _ in range(3):
        run(once)

    assert seen == [1, 1, 2, 2, 3, 3]
    tend(pool)
    assert pool.statistics().open <= 1


@kinds
def test_a_loop_that_ends_with_a_lease_leaves_its_room_to_others(
    make_pool: MakePool, server: Server, run: Run
) -> None:
    pool = make_pool()
    leases = []

    async def careless() -> None:
        leases.append(pool.lease())
        await leases[-1].aacquire()

    async def waits() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(borrow)
            await blocked()
            tend(pool)

    async def borrow() -> None:
        async with pool.lease(timeout_s=5) as connection:
            assert connection.number == 2

    run(careless)
    run(waits)

    assert "abandon 1" in server.log
    leases.clear()
    gc.collect()
    tend(pool)


def test_two_loops_at_once_share(make_pool: MakePool) -> None:
    """Though one of them never leaves a connection unused."""
    pool = make_pool(max_size=2)
    busy = threading.Event()
    served = threading.Event()

    async def greedy() -> None:
        async def again_and_again() -> None:
            while not served.is_set():
                async with pool.lease():
                    await anyio.lowlevel.checkpoint()
                busy.set()

        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(again_and_again)

    async def modest() -> None:
        async with pool.lease(timeout_s=20):
            served.set()

    loop = threading.Thread(target=asyncio.run, args=(greedy(),), daemon=True)
    loop.start()
    assert busy.wait(PATIENCE_S)
    try:
        asyncio.run(modest())
    finally:
        served.set()
        loop.join(PATIENCE_S)


def test_a_task_that_is_destroyed_while_it_waits_is_gone_from_the_line(
    make_pool: MakePool, server: Server
) -> None:
    """Whenever Python comes to collect it, also in the middle of a step of the pool."""
    pool = Pool(server.for_threads(), max_size=1, housekeeping=False)
    holder = pool.lease()
    holder.acquire()
    waits = pool.lease().aacquire()

    async def begin() -> None:
        waits.send(None)  # what a task does on its first turn

    asyncio.run(begin())
    with pool._engine.state.lock:
        waits.close()
    tend(pool)

    assert pool.statistics().waiting == 0
    holder.release()
    with pool.lease(timeout_s=1):
        pass
    pool.close()


def test_a_handed_connection_of_a_loop_that_is_closed_goes_to_others(server: Server) -> None:
    pool = Pool(server.for_threads(), max_size=1, housekeeping=False)
    holder = pool.lease()
    holder.acquire()
    loop = asyncio.new_event_loop()
    task = loop.create_task(pool.lease().aacquire())
    loop.run_until_complete(asyncio.wait([task], timeout=0.01))
    assert pool.statistics().waiting == 1
    loop.close()

    holder.release()

    with pool.lease(timeout_s=1) as connection:
        assert connection.number == 1
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    pool.close()


def test_a_loop_that_is_held_up_loses_the_connection_and_keeps_its_place(server: Server) -> None:
    pool = Pool(server.for_threads(), max_size=1, housekeeping=False)
    holder = pool.lease()
    holder.acquire()
    order: list[str] = []
    waits, goes_on = threading.Event(), threading.Event()

    async def held_up() -> None:
        async def borrow() -> None:
            async with pool.lease():
                order.append("held up")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(borrow)
            await blocked()
            waits.set()
            goes_on.wait(PATIENCE_S)  # as a handler does that blocks its loop

    loop = threading.Thread(target=asyncio.run, args=(held_up(),), daemon=True)
    loop.start()
    assert waits.wait(PATIENCE_S)
    holder.release()
    assert pool.statistics().idle == 0, "it was handed to the loop"
    with pytest.raises(PoolTimeout):
        pool.lease(timeout_s=0).acquire()

    tend(pool, later_s=2.0)
    with pool.lease(timeout_s=1):
        order.append("thread")
        goes_on.set()
    loop.join(PATIENCE_S)

    assert order == ["thread", "held up"]
    pool.close()


# ----------------------------------------------------------------------- permits


@kinds
def test_a_loop_ends_though_the_budget_is_exhausted(server: Server, run: Run) -> None:
    """It used to wait for a permit that nobody had to give."""
    permits = Permits(0)
    pool = Pool(server.for_tasks(), max_size=2, min_size=1, budget=permits, housekeeping=False)

    async def hasty() -> None:
        with pytest.raises(PoolTimeout):
            await pool.lease(timeout_s=0.02).aacquire()
        permits.waits.get(timeout=PATIENCE_S)

    runs = threading.Thread(target=run, args=(hasty,), daemon=True)
    runs.start()
    runs.join(PATIENCE_S)

    assert not runs.is_alive()
    permits.free.release()
    pool.close(0)


def test_the_permit_of_an_opening_is_free_when_its_loop_just_stops(server: Server) -> None:
    permits = Permits(1)

    async def never() -> Connection:
        await asyncio.sleep(1000)
        raise AssertionError

    pool = Pool(never, max_size=1, budget=permits, housekeeping=False)
    loop = asyncio.new_event_loop()
    task = loop.create_task(pool.lease().aacquire())
    loop.run_until_complete(asyncio.wait([task], timeout=0.01))
    loop.close()

    tend(pool)

    permits.released.get(timeout=PATIENCE_S)
    assert pool.statistics().opening == 0
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    for left in list(_sync.tasks._alive):  # type: ignore[attr-defined]
        if left.get_loop() is loop:
            left._log_destroy_pending = False  # type: ignore[attr-defined]


@kinds
def test_permits_taken_are_permits_given_back(server: Server, run: Run) -> None:
    permits = Permits(2)
    pool = Pool(server.for_tasks(), max_size=2, budget=permits, housekeeping=False)

    async def use() -> None:
        async with pool.lease(), pool.lease():
            pass
        await pool.aclose()

    run(use)

    assert permits.released.qsize() == 2
