"""Connections that go nowhere, in the shapes that pools ask for."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

__all__ = ["Connection", "Wire", "psycopg_class", "redis_class"]


class Wire:
    """
    What connections are opened on.

    Args:
        connect_s: Seconds that opening one takes.

    Thread safety: any thread; counts are taken when everybody is done.
    """

    def __init__(self, connect_s: float = 0.0) -> None:
        self.connect_s = connect_s
        # Appending is atomic, adding is not.
        self._opened: list[int] = []
        self.goodbyes: list[int] = []
        """Of which process each connection was that somebody else said goodbye on."""

    @property
    def opened(self) -> int:
        """Connections opened so far."""
        return len(self._opened)

    def open(self) -> Connection:
        """Open a connection in this thread."""
        self.wait()
        return Connection(self)

    async def aopen(self) -> Connection:
        """Open a connection in this task; like a real one, it gives way at least once."""
        await self.await_()
        return Connection(self)

    def wait(self) -> None:
        """Be as slow as opening one is."""
        self._opened.append(1)
        if self.connect_s:
            time.sleep(self.connect_s)

    async def await_(self) -> None:
        """Be as slow as opening one is."""
        self._opened.append(1)
        await asyncio.sleep(self.connect_s)


class Connection:
    """Knows the process it was opened in."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.pid = os.getpid()

    def close(self) -> None:
        """Say goodbye."""
        self._say_goodbye()

    async def aclose(self) -> None:
        """Say goodbye, and give way once."""
        await asyncio.sleep(0)
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        if self.pid != os.getpid():
            self.wire.goodbyes.append(self.pid)

    def rollback(self) -> None:
        """End a transaction that there is not."""


def psycopg_class(wire: Wire, *, asynchronous: bool) -> type[Any]:
    """A class that psycopg_pool takes for psycopg's ``Connection``."""
    from psycopg.pq import TransactionStatus

    class PgConn:
        transaction_status = TransactionStatus.IDLE

    class Base(Connection):
        pgconn = PgConn()
        closed = False
        _pool = None

    class Sync(Base):
        @classmethod
        def connect(cls, conninfo: str, **options: object) -> Sync:
            wire.wait()
            return cls(wire)

    class Async(Base):
        @classmethod
        async def connect(cls, conninfo: str, **options: object) -> Async:
            await wire.await_()
            return cls(wire)

        async def close(self) -> None:  # type: ignore[override]
            await self.aclose()

    return Async if asynchronous else Sync


def redis_class(wire: Wire, *, asynchronous: bool) -> type[Any]:
    """A subclass of redis-py's connection that has no socket."""
    if asynchronous:
        return _redis_async(wire)
    from redis.connection import Connection as RedisConnection

    class Sync(RedisConnection):
        open_here = False

        def connect(self) -> None:
            if not self.open_here:
                wire.wait()
                self.open_here = True

        def can_read(self, timeout: float = 0) -> bool:
            return False

        def disconnect(self, *args: object, **options: object) -> None:
            self.open_here = False

    return Sync


def _redis_async(wire: Wire) -> type[Any]:
    from redis.asyncio.connection import Connection as RedisConnection

    class Async(RedisConnection):
        open_here = False

        async def connect(self) -> None:
            if not self.open_here:
                await wire.await_()
                self.open_here = True

        async def can_read(self, *args: object) -> bool:
            return False

        async def disconnect(self, *args: object, **options: object) -> None:
            await asyncio.sleep(0)
            self.open_here = False

    return Async
