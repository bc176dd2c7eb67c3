"""Servers that the tests of this folder share, each worker of the test run its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.postgres_server import PostgresServer


@pytest.fixture(scope="session")
def _postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres(_postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A PostgreSQL server that runs and has no guests. Tests may restart it."""
    yield _postgres
    _postgres.wait_sessions(0)


@pytest.fixture
def postgres_proxy(postgres: PostgresServer) -> Iterator[FaultProxy]:
    """A network between the test and `postgres` that can be made to fail."""
    with FaultProxy(postgres.port) as proxy:
        yield proxy
