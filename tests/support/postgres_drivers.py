"""What tests of pools need to know of the asynchronous drivers of PostgreSQL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import asyncpg
import psycopg

from lmi_runtime.pools import Connector
from lmi_runtime.pools.adapters import asyncpg as asyncpg_adapter
from lmi_runtime.pools.adapters import psycopg as psycopg_adapter

__all__ = ["DRIVERS", "Driver"]


class Driver(ABC):
    """One of them. Its connections come from the adapter, and are in no transaction."""

    broken: tuple[type[Exception], ...]
    """What a query raises when the connection is gone."""

    @abstractmethod
    def connector(self, dsn: str) -> Connector[Any]:
        """The adapter's."""

    @abstractmethod
    async def ask(self, connection: Any, number: int, *, slow_s: float = 0.002) -> int:
        """Send a number, have the server think about it, and return what comes back."""

    @abstractmethod
    async def begin(self, connection: Any) -> None:
        """Begin a transaction, and leave it open."""

    @abstractmethod
    def in_transaction(self, connection: Any) -> bool:
        """Whether one is open."""

    @abstractmethod
    def backend(self, connection: Any) -> int:
        """The process id of the server's end."""


class Psycopg(Driver):
    """psycopg 3."""

    broken = (psycopg.OperationalError,)

    def connector(self, dsn: str) -> Connector[Any]:
        return psycopg_adapter.async_connector(dsn, autocommit=True)

    async def ask(self, connection: Any, number: int, *, slow_s: float = 0.002) -> int:
        cursor = await connection.execute("SELECT %s::int, pg_sleep(%s)", [number, slow_s])
        answer: int = (await cursor.fetchone())[0]
        return answer

    async def begin(self, connection: Any) -> None:
        await connection.execute("BEGIN")

    def in_transaction(self, connection: Any) -> bool:
        return bool(connection.info.transaction_status)

    def backend(self, connection: Any) -> int:
        pid: int = connection.info.backend_pid
        return pid


class Asyncpg(Driver):
    """asyncpg."""

    broken = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)

    def connector(self, dsn: str) -> Connector[Any]:
        return asyncpg_adapter.connector(dsn)

    async def ask(self, connection: Any, number: int, *, slow_s: float = 0.002) -> int:
        row = await connection.fetchrow("SELECT $1::int, pg_sleep($2)", number, slow_s)
        answer: int = row[0]
        return answer

    async def begin(self, connection: Any) -> None:
        await connection.execute("BEGIN")

    def in_transaction(self, connection: Any) -> bool:
        inside: bool = connection.is_in_transaction()
        return inside

    def backend(self, connection: Any) -> int:
        pid: int = connection.get_server_pid()
        return pid


DRIVERS: dict[str, Driver] = {"psycopg": Psycopg(), "asyncpg": Asyncpg()}
