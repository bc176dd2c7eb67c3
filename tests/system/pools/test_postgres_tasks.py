"""psycopg and asyncpg in tasks, against a real server that misbehaves, and in storms."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime.errors import PoolTimeout, WrongKindOfCaller
from lmi_runtime.pools import ConnectionBudget, Pool
from tests.support.fault_proxy import FaultProxy
from tests.support.patience import PATIENCE_S
from tests.support.postgres_drivers import DRIVERS, Driver
from tests.support.postgres_server import PostgresServer
from tests.support.storms import StormKind, storm

pytestmark = [pytest.mark.system, pytest.mark.anyio]

MakePool = Callable[..., Any]


@pytest.fixture(params=list(DRIVERS))
def driver(request: pytest.FixtureRequest) -> Driver:
    return DRIVERS[request.param]


@pytest.fixture
def anyio_backend(driver: Driver) -> tuple[str, dict[str, Any]]:
    """Each driver on the loop it is mostly used on; neither runs on trio."""
    return "asyncio", {"use_uvloop": driver is DRIVERS["asyncpg"]}


@pytest.fixture
def make_pool(driver: Driver, postgres: PostgresServer) -> MakePool:
    """Makes pools that are closed at the end of their block."""

    @asynccontextmanager
    async def make(
        max_size: int = 1, *, dsn: str = postgres.dsn, **options: Any
    ) -> AsyncIterator[Pool[Any]]:
        pool = Pool(driver.connector(dsn), max_size=max_size, **options)
        try:
            yield pool
        finally:
            await pool.aclose()

    return make


async def open_all(pool: Pool[Any], driver: Driver, count: int) -> set[int]:
    """Have so many connections open and idle; their backends."""
    leases = [pool.lease() for _ in range(count)]
    backends = {driver.backend(await lease.aacquire()) for lease in leases}
    for lease in leases:
        await lease.arelease()
    return backends


async def failures(pool: Pool[Any], driver: Driver, requests: int) -> int:
    """How many of so many requests, one after the other, do not get their answer."""
    failed = 0
    for number in range(requests):
        try:
            async with pool.lease() as connection:
                assert await driver.ask(connection, number, slow_s=0) == number
        except driver.broken:
            failed += 1
    return failed


# ---------------------------------------------------------------------- what users do


async def test_each_task_gets_its_own_answers(
    make_pool: MakePool, driver: Driver, postgres: PostgresServer
) -> None:
    async with make_pool(2) as pool:
        numbers = itertools.count()

        async def requests() -> int:
            right = 0
            for _ in range(10):
                number = next(numbers)
                async with pool.lease() as connection:
                    right += await driver.ask(connection, number, slow_s=0) == number
            return right

        assert sum(await asyncio.gather(*(requests() for _ in range(8)))) == 80
        assert len(postgres.sessions()) == pool.statistics().opened == 2


async def test_threads_are_told_that_they_cannot_have_these(make_pool: MakePool) -> None:
    async with make_pool() as pool:
        with pytest.raises(WrongKindOfCaller):
            await asyncio.to_thread(pool.lease().acquire)


async def test_a_transaction_that_was_left_open_is_over_for_the_next_borrower(
    make_pool: MakePool, driver: Driver
) -> None:
    async with make_pool() as pool:
        async with pool.lease() as connection:
            await driver.begin(connection)
            await connection.execute("CREATE TABLE left_open (number int)")
            before = driver.backend(connection)
        async with pool.lease() as connection:
            assert not driver.in_transaction(connection)
            await connection.execute("CREATE TEMP TABLE left_open (number int)")
            assert driver.backend(connection) == before


async def test_a_connection_that_its_borrower_closed_is_replaced(
    make_pool: MakePool, driver: Driver
) -> None:
    async with make_pool() as pool:
        async with pool.lease() as connection:
            await connection.close()

        assert await failures(pool, driver, 2) == 0


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_loops_in_threads_share_a_pool(driver: Driver, postgres: PostgresServer) -> None:
    pool = Pool(driver.connector(postgres.dsn), max_size=4)

    async def requests() -> int:
        failed = await failures(pool, driver, 20)
        return failed

    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(asyncio.run, [requests(), requests()])) == 0
    pool.close()
    gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_connections_of_a_loop_that_ended_do_not_stay_open(
    driver: Driver, postgres: PostgresServer
) -> None:
    pool = Pool(driver.connector(postgres.dsn), max_size=2)

    assert asyncio.run(failures(pool, driver, 2)) == 0
    assert asyncio.run(failures(pool, driver, 2)) == 0

    pool.close()
    postgres.wait_sessions(0)
    gc.collect()


# ---------------------------------------------------------------- the server misbehaves


async def test_one_request_at_most_notices_a_restart(
    make_pool: MakePool, driver: Driver, postgres: PostgresServer
) -> None:
    async with make_pool(3) as pool:
        await open_all(pool, driver, 3)

        postgres.restart()

        assert await failures(pool, driver, 10) <= 1


async def test_killed_backends_are_noticed_by_the_check(
    make_pool: MakePool, driver: Driver, postgres: PostgresServer
) -> None:
    async with make_pool(3, bypass_check_s=0) as pool:
        await open_all(pool, driver, 3)

        assert postgres.kill_backends() == 3

        assert await failures(pool, driver, 6) == 0


async def test_a_backend_killed_while_it_is_lent_is_not_lent_again(
    make_pool: MakePool, driver: Driver, postgres: PostgresServer
) -> None:
    async with make_pool() as pool:
        async with pool.lease() as connection:
            postgres.kill_backends()
            with pytest.raises(driver.broken):
                await driver.ask(connection, 1)

        assert await failures(pool, driver, 3) == 0
        assert pool.statistics().closed_broken == 1


async def test_with_a_budget_requests_wait_where_the_server_would_refuse(
    driver: Driver, tmp_path: Path
) -> None:
    with PostgresServer(max_connections=2) as server:
        budget = ConnectionBudget(max_connections=2, environments=1, directory=tmp_path)
        connector = driver.connector(server.dsn)
        pools = [Pool(connector, max_size=2, budget=budget) for _ in range(2)]

        async with asyncio.timeout(PATIENCE_S):
            failed = await asyncio.gather(*(failures(pool, driver, 5) for pool in pools * 3))

        assert sum(failed) == 0
        for pool in pools:
            await pool.aclose()


# --------------------------------------------------------------- the network misbehaves


@pytest.mark.parametrize("fault", ["stall", "drop"])
async def test_a_check_of_a_silent_connection_is_over_by_the_deadline(
    fault: str,
    make_pool: MakePool,
    driver: Driver,
    postgres: PostgresServer,
    postgres_proxy: FaultProxy,
) -> None:
    dsn = postgres.dsn_through(postgres_proxy.port)
    async with make_pool(dsn=dsn, bypass_check_s=0, io_timeout_s=2 * PATIENCE_S) as pool:
        await open_all(pool, driver, 1)
        getattr(postgres_proxy, fault)()

        with pytest.raises(PoolTimeout):
            await pool.lease(timeout_s=0.3).aacquire()

        postgres_proxy.reset()
        postgres_proxy.pass_on()
        assert await failures(pool, driver, 3) == 0


async def test_resetting_a_silent_connection_is_over_in_time(
    make_pool: MakePool, driver: Driver, postgres: PostgresServer, postgres_proxy: FaultProxy
) -> None:
    dsn = postgres.dsn_through(postgres_proxy.port)
    async with make_pool(dsn=dsn, io_timeout_s=0.2) as pool:
        lease = pool.lease()
        await driver.begin(await lease.aacquire())
        postgres_proxy.stall()

        await lease.arelease()

        postgres_proxy.reset()
        postgres_proxy.pass_on()
        assert await failures(pool, driver, 2) == 0


# --------------------------------------------------------------------------- storms


@pytest.mark.parametrize("kind", ["single", "double", "scopes"])
@pytest.mark.parametrize("reset_after_cancel", [False, True])
async def test_no_storm_loses_a_connection_or_sends_a_reply_astray(
    kind: StormKind, reset_after_cancel: bool, make_pool: MakePool, driver: Driver
) -> None:
    async with make_pool(4, reset_after_cancel=reset_after_cancel) as pool:
        counts = await storm(pool.lease, partial(driver.ask), size=4, kind=kind, seed=1, rounds=4)

        assert counts.harmless, counts
        assert counts.cancelled > 0
        now = pool.statistics()
        assert (now.lent, now.waiting) == (0, 0)
