"""Connections of psycopg in threads, against a real server that misbehaves."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lmi_runtime.errors import PoolTimeout
from lmi_runtime.pools import ConnectionBudget, Pool
from lmi_runtime.pools.adapters.psycopg import connector
from tests.support.fault_proxy import FaultProxy
from tests.support.patience import PATIENCE_S
from tests.support.postgres_server import PostgresServer
from tests.support.requests import serving

pytestmark = pytest.mark.system

PsycopgPool = Pool[psycopg.Connection[Any]]


@pytest.fixture
def pool(postgres: PostgresServer) -> Iterator[PsycopgPool]:
    with_one = Pool(connector(postgres.dsn), max_size=1)
    yield with_one
    with_one.close()


@pytest.fixture
def pool_of_three(postgres: PostgresServer) -> Iterator[PsycopgPool]:
    pool = Pool(connector(postgres.dsn, autocommit=True), max_size=3)
    yield pool
    pool.close()


@pytest.fixture
def far_pool(postgres: PostgresServer, postgres_proxy: FaultProxy) -> Iterator[PsycopgPool]:
    """One connection, through a network; it is checked before each lease, for as long as may be."""
    dsn = postgres.dsn_through(postgres_proxy.port)
    far = connector(dsn, autocommit=True)
    pool = Pool(far, max_size=1, bypass_check_s=0, io_timeout_s=2 * PATIENCE_S)
    yield pool
    pool.close()


def ask(connection: psycopg.Connection[Any], number: int) -> int:
    row = connection.execute("SELECT %s::int", [number]).fetchone()
    assert row is not None
    answer: int = row[0]
    return answer


def backend(pool: PsycopgPool) -> int:
    with pool.lease() as connection:
        return connection.info.backend_pid


def open_all(pool: PsycopgPool, count: int) -> set[int]:
    """Have so many connections open and idle; their backends."""
    leases = [pool.lease() for _ in range(count)]
    backends = {lease.acquire().info.backend_pid for lease in leases}
    for lease in leases:
        lease.release()
    return backends


def failures(pool: PsycopgPool, requests: int) -> int:
    """How many of so many requests, one after the other, do not get their answer."""
    failed = 0
    for number in range(requests):
        try:
            with pool.lease() as connection:
                assert ask(connection, number) == number
        except psycopg.OperationalError:
            failed += 1
    return failed


# ---------------------------------------------------------------------- what users do


def test_each_thread_gets_its_own_answers(postgres: PostgresServer) -> None:
    pool = Pool(connector(postgres.dsn, autocommit=True), max_size=2)
    numbers = itertools.count()

    def requests() -> int:
        right = 0
        for _ in range(25):
            number = next(numbers)
            with pool.lease() as connection:
                right += ask(connection, number) == number
        return right

    with ThreadPoolExecutor(8) as threads:
        jobs = [threads.submit(requests) for _ in range(8)]
        assert sum(job.result(PATIENCE_S) for job in jobs) == 200

    assert len(postgres.sessions()) == pool.statistics().opened == 2
    pool.close()


def test_options_are_for_the_connection(postgres: PostgresServer) -> None:
    pool = Pool(connector(postgres.dsn, autocommit=True, application_name="shop"), max_size=1)

    with pool.lease() as connection:
        assert connection.autocommit
        assert connection.info.get_parameters()["application_name"] == "shop"
    pool.close()


@pytest.mark.parametrize(
    ("conninfo", "options", "variable", "expected"),
    [
        ("", {}, None, 10),
        ("connect_timeout=3", {}, None, None),
        ("postgresql://host/db?connect_timeout=3", {}, None, None),
        ("", {"connect_timeout": 4}, None, 4),
        ("", {}, "5", None),
    ],
)
def test_connecting_ends_after_ten_seconds_unless_somebody_says_otherwise(
    conninfo: str,
    options: dict[str, Any],
    variable: str | None,
    expected: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(psycopg.Connection, "connect", lambda _, **options: given.append(options))
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    if variable is not None:
        monkeypatch.setenv("PGCONNECT_TIMEOUT", variable)

    connector(conninfo, **options).open()

    assert given[0].get("connect_timeout") == expected


def test_what_was_not_committed_is_rolled_back_before_the_next_borrower(
    pool: PsycopgPool, postgres: PostgresServer
) -> None:
    with pool.lease() as connection:
        connection.execute("CREATE TABLE left_open (number int)")
    with pool.lease() as connection:
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        found = connection.execute("SELECT to_regclass('left_open')").fetchone()

    assert found == (None,)
    assert pool.statistics().opened == 1


def test_a_transaction_that_failed_does_not_cost_the_connection(pool: PsycopgPool) -> None:
    before = backend(pool)
    with pytest.raises(psycopg.errors.DivisionByZero), pool.lease() as connection:
        connection.execute("SELECT 1 / 0")

    with pool.lease() as connection:
        assert ask(connection, 7) == 7
    assert backend(pool) == before


def test_open_transactions_are_told_of_once(
    pool: PsycopgPool, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        with caplog.at_level(logging.WARNING), pool.lease() as connection:
            connection.execute("SELECT 1")

    told = [record for record in caplog.records if "in a transaction" in record.message]
    assert len(told) == 1


def test_a_connection_in_the_middle_of_an_exchange_is_never_lent_again(pool: PsycopgPool) -> None:
    before = backend(pool)
    with pool.lease() as connection:
        connection.pgconn.send_query(b"SELECT 'for somebody else'")
        assert pool._engine.connector.usable is not None
        assert not pool._engine.connector.usable(connection)

    with pool.lease() as connection:
        assert ask(connection, 3) == 3
    assert backend(pool) != before


def test_a_pipeline_that_was_left_open_is_never_lent_again(pool: PsycopgPool) -> None:
    before = backend(pool)
    with pool.lease() as connection:
        connection.pgconn.enter_pipeline_mode()

    assert backend(pool) != before


def test_a_connection_that_its_borrower_closed_is_replaced(pool: PsycopgPool) -> None:
    with pool.lease() as connection:
        connection.close()

    with pool.lease() as connection:
        assert ask(connection, 3) == 3


# ---------------------------------------------------------------- the server misbehaves


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_one_request_at_most_notices_a_restart(
    mode: Any, pool_of_three: PsycopgPool, postgres: PostgresServer
) -> None:
    open_all(pool_of_three, 3)

    postgres.restart(mode)

    assert failures(pool_of_three, 10) <= 1


def test_while_the_server_is_down_requests_fail_and_later_they_do_not(
    pool_of_three: PsycopgPool, postgres: PostgresServer
) -> None:
    open_all(pool_of_three, 3)
    postgres.stop()
    try:
        assert failures(pool_of_three, 4) == 4
    finally:
        postgres.start()

    assert failures(pool_of_three, 5) == 0


def test_killed_backends_are_noticed_by_the_check(postgres: PostgresServer) -> None:
    pool = Pool(connector(postgres.dsn, autocommit=True), max_size=3, bypass_check_s=0)
    before = open_all(pool, 3)

    assert postgres.kill_backends() == 3

    assert failures(pool, 6) == 0
    assert open_all(pool, 3).isdisjoint(before)
    pool.close()


def test_a_backend_killed_while_it_is_lent_is_not_lent_again(
    pool: PsycopgPool, postgres: PostgresServer
) -> None:
    with pool.lease() as connection:
        postgres.kill_backends()
        with pytest.raises(psycopg.OperationalError):
            ask(connection, 1)

    assert failures(pool, 3) == 0
    assert pool.statistics().closed_broken == 1


def test_too_many_connections_is_said_clearly_and_does_not_last() -> None:
    with PostgresServer(max_connections=1) as server, psycopg.connect(server.dsn) as other:
        pool = Pool(connector(server.dsn), max_size=1)
        with pytest.raises(psycopg.OperationalError, match="connection slots"):
            pool.lease().acquire()

        other.close()

        # It takes the server a moment to have a place free again.
        ends_s = time.monotonic() + PATIENCE_S
        while failures(pool, 1):
            assert time.monotonic() < ends_s
        pool.close()


def test_with_a_budget_requests_wait_instead(tmp_path: Path) -> None:
    with PostgresServer(max_connections=2) as server:
        budget = ConnectionBudget(max_connections=2, environments=1, directory=tmp_path)
        pools = [
            Pool(connector(server.dsn, autocommit=True), max_size=2, budget=budget)
            for _ in range(2)
        ]

        def requests(pool: PsycopgPool) -> int:
            return failures(pool, 20)

        with ThreadPoolExecutor(8) as threads:
            assert sum(threads.map(requests, pools * 4)) == 0

        assert budget.held <= 2
        for pool in pools:
            pool.close()
        server.wait_sessions(0)


# --------------------------------------------------------------- the network misbehaves


def test_a_slow_network_changes_no_answer(
    far_pool: PsycopgPool, postgres_proxy: FaultProxy
) -> None:
    before = backend(far_pool)
    postgres_proxy.delay(0.02)

    assert failures(far_pool, 3) == 0
    assert backend(far_pool) == before


@pytest.mark.parametrize("fault", ["stall", "drop"])
def test_a_check_of_a_silent_connection_is_over_by_the_deadline(
    fault: str, far_pool: PsycopgPool, postgres: PostgresServer, postgres_proxy: FaultProxy
) -> None:
    backend(far_pool)
    getattr(postgres_proxy, fault)()

    with pytest.raises(PoolTimeout):
        far_pool.lease(timeout_s=0.3).acquire()

    postgres_proxy.pass_on()
    postgres_proxy.reset()
    assert failures(far_pool, 3) == 0


def test_a_request_does_not_wait_past_its_deadline(
    far_pool: PsycopgPool, postgres_proxy: FaultProxy
) -> None:
    backend(far_pool)
    postgres_proxy.stall()

    with pytest.raises(PoolTimeout):
        serving(0.3, far_pool.lease().acquire)

    postgres_proxy.reset()
    postgres_proxy.pass_on()


def test_rolling_back_over_a_silent_connection_is_over_in_time(
    postgres: PostgresServer, postgres_proxy: FaultProxy
) -> None:
    dsn = postgres.dsn_through(postgres_proxy.port)
    pool = Pool(connector(dsn), max_size=1, io_timeout_s=0.2)
    lease = pool.lease()
    ask(lease.acquire(), 1)
    postgres_proxy.stall()

    lease.release()

    postgres_proxy.reset()
    postgres_proxy.pass_on()
    assert failures(pool, 2) == 0
    pool.close()


def test_a_reset_connection_is_noticed_by_the_check(
    far_pool: PsycopgPool, postgres_proxy: FaultProxy
) -> None:
    backend(far_pool)

    postgres_proxy.reset()

    assert failures(far_pool, 3) == 0
