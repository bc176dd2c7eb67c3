"""A child opens connections of its own, and its parent's sessions go on undisturbed."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, text

from lmi_runtime.pools import Pool
from lmi_runtime.pools.adapters import asyncpg as asyncpg_adapter
from lmi_runtime.pools.adapters import psycopg as psycopg_adapter
from lmi_runtime.pools.adapters.sqlalchemy import LmiPool
from tests.support.patience import PATIENCE_S
from tests.support.postgres_server import PostgresServer
from tests.support.repository import REPOSITORY

pytestmark = pytest.mark.system


def in_child(body: Callable[[], object]) -> int:
    """Run `body` in a child that ends without finalizers; how that ended."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        ended = 1
        try:
            body()
            ended = 0
        finally:
            os._exit(ended)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_may_even_close_what_its_parent_has_borrowed(postgres: PostgresServer) -> None:
    """libpq would say goodbye to the server, and end the parent's session."""
    pool = Pool(psycopg_adapter.connector(postgres.dsn, autocommit=True), max_size=1)
    with pool.lease() as connection:
        assert in_child(connection.close) == 0

        assert connection.execute("SELECT 1").fetchone() == (1,)
    pool.close()


def test_a_child_may_even_close_what_its_parents_engine_lent(postgres: PostgresServer) -> None:
    engine = create_engine(postgres.url("psycopg"), poolclass=LmiPool, pool_size=1)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        driver = connection.connection.driver_connection
        assert driver is not None

        assert in_child(driver.close) == 0

        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_a_child_has_no_hold_of_its_parents_sockets(postgres: PostgresServer) -> None:
    """Else the server would not notice that the parent has died, and keep its locks."""

    def is_socket(number: int) -> None:
        assert stat.S_ISSOCK(os.fstat(number).st_mode)

    async def check(pool: Pool[object]) -> None:
        async with pool.lease() as connection:
            number = connection._transport.get_extra_info("socket").fileno()  # type: ignore[attr-defined]
            is_socket(number)
            assert in_child(lambda: is_socket(number)) == 1
        await pool.aclose()

    asyncio.run(check(Pool(asyncpg_adapter.connector(postgres.dsn), max_size=1)))
    pool = Pool(psycopg_adapter.connector(postgres.dsn), max_size=1)
    with pool.lease() as borrowed:
        is_socket(borrowed.fileno())
        assert in_child(lambda: is_socket(borrowed.fileno())) == 1
    pool.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "forks"),
    [("psycopg", 40), ("sqlalchemy", 10), ("tasks:psycopg", 10), ("tasks:asyncpg", 40)],
)
def test_forks_under_load(kind: str, forks: int, postgres: PostgresServer) -> None:
    """Forty for each driver."""
    program = [sys.executable, "-W", "error", "-m", "tests.system.pools.postgres_forks"]
    ended = subprocess.run(
        [*program, kind, str(forks), postgres.dsn],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
        check=False,
    )

    # Not a word of drivers that complain of connections they did not see closed.
    assert (ended.stdout, ended.stderr, ended.returncode) == ("", "", 0)
