"""SQLAlchemy's engines on our pool, against a real server that misbehaves."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy.exc
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from lmi_runtime.errors import PoolTimeout
from lmi_runtime.pools import ConnectionBudget
from lmi_runtime.pools.adapters.sqlalchemy import LmiPool, LmiPoolTimeout
from tests.support.patience import PATIENCE_S
from tests.support.postgres_server import PostgresServer
from tests.support.requests import serving
from tests.support.storms import StormKind, storm

pytestmark = pytest.mark.system

ASK = text("SELECT cast(:number AS int), pg_sleep(:slow_s)")
ASYNC_DRIVERS = ["asyncpg", "psycopg"]


def make_engine(server: PostgresServer, pool_size: int = 1, **options: Any) -> Engine:
    return create_engine(server.url("psycopg"), poolclass=LmiPool, pool_size=pool_size, **options)


@pytest.fixture
def engine(postgres: PostgresServer) -> Iterator[Engine]:
    engine = make_engine(postgres)
    yield engine
    engine.dispose()


@asynccontextmanager
async def async_engine(
    server: PostgresServer, driver: str, pool_size: int = 1, **options: Any
) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(
        server.url(driver), poolclass=LmiPool, pool_size=pool_size, **options
    )
    try:
        yield engine
    finally:
        await engine.dispose()


def pool_of(engine: Engine | AsyncEngine) -> LmiPool:
    assert isinstance(engine.pool, LmiPool)
    return engine.pool


def ask(connection: Any, number: int) -> int:
    answer: int = connection.execute(ASK, {"number": number, "slow_s": 0}).scalar()
    return answer


async def aask(connection: Any, number: int) -> int:
    answer: int = (await connection.execute(ASK, {"number": number, "slow_s": 0.002})).scalar()
    return answer


def failures(engine: Engine, requests: int) -> int:
    failed = 0
    for number in range(requests):
        try:
            with engine.connect() as connection:
                assert ask(connection, number) == number
        except sqlalchemy.exc.DBAPIError:
            failed += 1
    return failed


async def async_failures(engine: AsyncEngine, requests: int) -> int:
    failed = 0
    for number in range(requests):
        try:
            async with engine.connect() as connection:
                assert await aask(connection, number) == number
        except sqlalchemy.exc.DBAPIError:
            failed += 1
    return failed


# ------------------------------------------------------------------------ what users do


def test_sessions_and_transactions_are_as_ever(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept (number int)"))
    with Session(engine) as session:
        session.execute(text("INSERT INTO kept VALUES (1)"))
        session.commit()
        session.execute(text("INSERT INTO kept VALUES (2)"))
    with engine.begin() as connection:
        found = connection.execute(text("SELECT number FROM kept")).scalars().all()
        connection.execute(text("DROP TABLE kept"))

    assert found == [1]
    assert pool_of(engine).statistics().opened == 1


async def _async_sessions(server: PostgresServer, driver: str) -> None:
    async with async_engine(server, driver) as engine:
        async with AsyncSession(engine) as session:
            assert (await session.execute(text("SELECT 1"))).scalar() == 1
            await session.execute(text("CREATE TABLE left_open (number int)"))
        async with engine.connect() as connection:
            found = await connection.execute(text("SELECT to_regclass('left_open')"))
            assert found.scalar() is None
        assert pool_of(engine).statistics().opened == 1


@pytest.mark.parametrize("driver", ASYNC_DRIVERS)
def test_async_sessions_are_as_ever(driver: str, postgres: PostgresServer) -> None:
    asyncio.run(_async_sessions(postgres, driver))


def test_threads_get_their_own_answers_and_their_turn(postgres: PostgresServer) -> None:
    engine = make_engine(postgres, 2)
    numbers = itertools.count()

    def requests() -> int:
        right = 0
        for _ in range(20):
            number = next(numbers)
            with engine.connect() as connection:
                right += ask(connection, number) == number
        return right

    with ThreadPoolExecutor(8) as threads:
        jobs = [threads.submit(requests) for _ in range(8)]
        assert sum(job.result(PATIENCE_S) for job in jobs) == 160

    assert pool_of(engine).statistics().opened == 2
    engine.dispose()


def test_events_come_as_ever(postgres: PostgresServer) -> None:
    engine = make_engine(postgres)
    seen: list[str] = []
    for name in ("connect", "checkout", "reset", "checkin", "close"):
        event.listen(engine, name, lambda *_, name=name: seen.append(name))

    for _ in range(2):
        with engine.connect() as connection:
            ask(connection, 1)
    engine.dispose()

    assert seen == ["connect", *["checkout", "reset", "checkin"] * 2, "close"]


def test_a_listener_may_refuse_a_connection_and_gets_another(engine: Engine) -> None:
    refused: list[Any] = []

    @event.listens_for(engine, "checkout")
    def refuse_first(connection: Any, *_: object) -> None:
        if not refused:
            refused.append(connection)
            raise sqlalchemy.exc.DisconnectionError

    assert failures(engine, 2) == 0
    assert refused[0].closed


def test_recycled_connections_are_replaced(postgres: PostgresServer) -> None:
    engine = make_engine(postgres, pool_recycle=0)
    with engine.connect() as connection:
        before = connection.connection.driver_connection
    with engine.connect() as connection:
        assert connection.connection.driver_connection is not before
    engine.dispose()


def test_dispose_closes_what_is_idle_at_once_and_the_rest_later(postgres: PostgresServer) -> None:
    engine = make_engine(postgres, 2)
    with engine.connect() as lent:
        ask(lent, 1)
        with engine.connect() as idle:
            ask(idle, 1)

        engine.dispose()

        postgres.wait_sessions(1)
        assert ask(lent, 2) == 2
        assert failures(engine, 1) == 0
    postgres.wait_sessions(1)
    engine.dispose()
    postgres.wait_sessions(0)


def test_a_disposed_pool_goes_on_for_those_who_still_have_it(engine: Engine) -> None:
    pool = pool_of(engine)
    engine.dispose()

    borrowed = pool.connect()
    borrowed.close()

    assert pool.checkedin() == 1
    pool.dispose()


def test_those_who_wait_while_it_is_disposed_of_are_served(postgres: PostgresServer) -> None:
    engine = make_engine(postgres)
    pool = pool_of(engine)
    with engine.connect() as lent, ThreadPoolExecutor(1) as threads:
        ask(lent, 1)
        waiting = threads.submit(failures, engine, 1)
        wait_until(lambda: pool.statistics().waiting == 1)
        engine.dispose()
        lent.close()
        assert waiting.result(PATIENCE_S) == 0
    pool.dispose()
    engine.dispose()


def test_its_state_can_be_read(engine: Engine) -> None:
    pool = pool_of(engine)
    with engine.connect() as connection:
        ask(connection, 1)
        assert (pool.size(), pool.checkedout(), pool.checkedin(), pool.overflow()) == (1, 1, 0, 0)
        assert "Checked out connections: 1" in pool.status()
    assert (pool.checkedout(), pool.checkedin(), pool.timeout()) == (0, 1, 30)


def test_limits_outlive_dispose(postgres: PostgresServer) -> None:
    engine = make_engine(postgres, 2, max_overflow=1, pool_timeout=3, max_waiting=4)
    engine.dispose()

    assert (pool_of(engine).size(), pool_of(engine).timeout()) == (3, 3)
    assert pool_of(engine).lender.options.max_waiting == 4


def test_who_waits_past_the_deadline_gets_an_error_of_both_kinds(engine: Engine) -> None:
    with engine.connect() as lent:
        ask(lent, 1)
        with pytest.raises(LmiPoolTimeout) as raised:
            serving(0.05, engine.connect)

    assert isinstance(raised.value, PoolTimeout)
    assert isinstance(raised.value, sqlalchemy.exc.TimeoutError)


def test_a_connection_that_is_forgotten_is_told_of_and_replaced(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def forget() -> None:
        connection = engine.connect()
        ask(connection, 1)

    with caplog.at_level(logging.WARNING):
        forget()
        gc.collect()
        assert failures(engine, 2) == 0

    assert "was never returned" in caplog.text
    assert pool_of(engine).statistics().leaks == 1


# ----------------------------------------------------------------- the server misbehaves


def test_killed_backends_are_noticed_by_the_check(postgres: PostgresServer) -> None:
    engine = make_engine(postgres, bypass_check_s=0)
    assert failures(engine, 1) == 0

    assert postgres.kill_backends() == 1

    assert failures(engine, 3) == 0
    engine.dispose()


def test_killed_backends_are_noticed_by_pre_ping(postgres: PostgresServer) -> None:
    engine = make_engine(postgres, pool_pre_ping=True)
    assert failures(engine, 1) == 0

    assert postgres.kill_backends() == 1

    assert failures(engine, 3) == 0
    engine.dispose()


def test_one_request_at_most_notices_a_restart(postgres: PostgresServer) -> None:
    engine = make_engine(postgres, 3)
    connections = [engine.connect() for _ in range(3)]
    for connection in connections:
        ask(connection, 1)
    for connection in connections:
        connection.close()

    postgres.restart()

    assert failures(engine, 10) <= 1
    engine.dispose()


@pytest.mark.parametrize("driver", ASYNC_DRIVERS)
def test_one_task_at_most_notices_a_restart(driver: str, postgres: PostgresServer) -> None:
    async def body() -> None:
        async with async_engine(postgres, driver, 3) as engine:
            await asyncio.gather(*(async_failures(engine, 1) for _ in range(3)))

            postgres.restart()

            assert await async_failures(engine, 10) <= 1

    asyncio.run(body())


def test_too_many_connections_is_a_database_error() -> None:
    with PostgresServer(max_connections=1) as server:
        engines = [make_engine(server), make_engine(server)]
        with engines[0].connect() as connection:
            ask(connection, 1)
            with pytest.raises(sqlalchemy.exc.OperationalError, match="connection slots"):
                engines[1].connect()
        engines[0].dispose()
        # It takes the server a moment to have a place free again.
        wait_until(lambda: failures(engines[1], 1) == 0)
        engines[1].dispose()


def test_with_a_budget_engines_wait_instead(tmp_path: Path) -> None:
    with PostgresServer(max_connections=2) as server:
        budget = ConnectionBudget(max_connections=2, environments=1, directory=tmp_path)
        engines = [make_engine(server, 2, budget=budget) for _ in range(2)]

        with ThreadPoolExecutor(4) as threads:
            assert sum(threads.map(failures, engines * 2, [8] * 4)) == 0

        for engine in engines:
            engine.dispose()
        assert budget.held == 0


# -------------------------------------------------------------------- tasks and loops


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("driver", ASYNC_DRIVERS)
def test_loops_in_threads_share_an_engine(driver: str, postgres: PostgresServer) -> None:
    engine = create_async_engine(postgres.url(driver), poolclass=LmiPool, pool_size=4)
    both = threading.Barrier(2)

    async def requests() -> int:
        both.wait(PATIENCE_S)
        return await async_failures(engine, 15)

    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(asyncio.run, [requests(), requests()])) == 0

    asyncio.run(engine.dispose())
    postgres.wait_sessions(0)
    gc.collect()


@pytest.mark.parametrize("driver", ASYNC_DRIVERS)
@pytest.mark.parametrize("kind", ["single", "double", "scopes"])
def test_no_storm_loses_a_connection_or_sends_a_reply_astray(
    kind: StormKind, driver: str, postgres: PostgresServer
) -> None:
    async def body() -> None:
        async with async_engine(postgres, driver, 4) as engine:
            counts = await storm(engine.connect, aask, size=4, kind=kind, seed=1, rounds=4)

            assert counts.harmless, counts
            assert pool_of(engine).checkedout() == 0

    asyncio.run(body())


def wait_until(condition: Any) -> None:
    ends_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.002)
