"""Pools for tasks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import repeat
from typing import Any, Protocol

from stress.bench.pooling.thread_pools import our_pool
from stress.bench.pooling.wire import Connection, Wire, psycopg_class, redis_class

__all__ = ["TASK_POOLS", "OurTasks", "TaskPool", "task_pool"]


class TaskPool(Protocol):
    """What is asked of a pool."""

    async def open(self) -> None:
        """Begin, on the running loop."""
        ...

    async def close(self) -> None:
        """End."""
        ...

    async def spin(self, times: int) -> None:
        """Lease a connection and give it back, *times* times, in the fastest way it has."""
        ...

    async def hold(self, action: Callable[[Any], Awaitable[object]]) -> None:
        """Await *action* with a connection, in the way its documentation shows."""
        ...


class _Pairs:
    """A pool with a call that takes and one that gives back."""

    acquire: Callable[[], Awaitable[Any]]
    release: Callable[[Any], Awaitable[object]]

    async def open(self) -> None:
        """Pools that have to be opened in a loop are opened here."""

    async def close(self) -> None:
        """Pools that keep tasks, without which a loop does not end, end them here."""

    async def spin(self, times: int) -> None:
        acquire, release = self.acquire, self.release
        for _ in repeat(None, times):
            await release(await acquire())

    async def hold(self, action: Callable[[Any], Awaitable[object]]) -> None:
        lease = await self.acquire()
        try:
            await action(lease)
        finally:
            await self.release(lease)


class OurTasks:
    """Tasks that lease from a `Pool`."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def open(self) -> None:
        """Nothing: a pool needs no loop of its own."""

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.aclose(timeout_s=1.0)

    async def spin(self, times: int) -> None:
        """Lease and give back."""
        lease = self._pool.lease
        for _ in repeat(None, times):
            async with lease():
                pass

    async def hold(self, action: Callable[[Any], Awaitable[object]]) -> None:
        """Hold one while *action* runs."""
        async with self._pool.lease() as connection:
            await action(connection)


def _ours(size: int, wire: Wire) -> OurTasks:
    from lmi_runtime.pools import Connector, Pool

    connector = Connector(open=wire.aopen, close=Connection.aclose, asynchronous=True)
    return OurTasks(Pool(connector, max_size=size))


def _ours_of_threads(size: int, wire: Wire) -> OurTasks:
    """With connections of a plain driver, which threads could lease from the same pool."""
    return OurTasks(our_pool(size, wire))


class _PsycopgPool(_Pairs):
    def __init__(self, size: int, wire: Wire) -> None:
        from psycopg_pool import AsyncConnectionPool

        fake = psycopg_class(wire, asynchronous=True)
        self._pool = AsyncConnectionPool(
            connection_class=fake, min_size=0, max_size=size, open=False
        )
        self.acquire, self.release = self._pool.getconn, self._pool.putconn

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()


class _SqlAlchemy(_Pairs):
    def __init__(self, size: int, wire: Wire) -> None:
        from sqlalchemy.pool import AsyncAdaptedQueuePool
        from sqlalchemy.util import await_only, greenlet_spawn

        creator: Any = lambda: await_only(wire.aopen())  # noqa: E731
        pool = AsyncAdaptedQueuePool(creator, pool_size=size, max_overflow=0)
        self.acquire = lambda: greenlet_spawn(pool.connect)
        self.release = lambda lease: greenlet_spawn(lease.close)

    async def hold(self, action: Callable[[Any], Awaitable[object]]) -> None:
        lease = await self.acquire()
        try:
            await action(lease)
        finally:
            # As its AsyncConnection does when a block ends.
            await asyncio.shield(asyncio.ensure_future(self.release(lease)))


class _Redis(_Pairs):
    def __init__(self, size: int, wire: Wire) -> None:
        from redis.asyncio import BlockingConnectionPool

        fake = redis_class(wire, asynchronous=True)
        pool = BlockingConnectionPool(max_connections=size, timeout=30, connection_class=fake)
        self.acquire, self.release = pool.get_connection, pool.release


class _Connpool(_Pairs):
    def __init__(self, size: int, wire: Wire) -> None:
        from connpool import AsyncConnectionPool, PoolConfig

        pool: Any = AsyncConnectionPool.from_callables(
            wire.aopen, close=Connection.aclose, config=PoolConfig(max_size=size)
        )
        self.acquire, self.release = pool.acquire, pool.release


class _Semaphore(_Pairs):
    """The floor: what one writes by hand; no lifetime, no check, no figures."""

    def __init__(self, size: int, wire: Wire) -> None:
        free: deque[Connection] = deque()
        slots = asyncio.Semaphore(size)

        async def acquire() -> Connection:
            await slots.acquire()
            if free:
                return free.pop()
            try:
                return await wire.aopen()
            except BaseException:
                slots.release()
                raise

        async def release(connection: Connection) -> None:
            free.append(connection)
            slots.release()

        self.acquire, self.release = acquire, release


TASK_POOLS: dict[str, Callable[[int, Wire], TaskPool]] = {
    "lmi_runtime": _ours,
    "lmi_runtime (def)": _ours_of_threads,
    "psycopg_pool": _PsycopgPool,
    "sqlalchemy": _SqlAlchemy,
    "redis": _Redis,
    "connpool": _Connpool,
    "Semaphore": _Semaphore,
}
"""By name; each is made with a size and a wire."""


@asynccontextmanager
async def task_pool(contender: str, size: int, wire: Wire) -> AsyncIterator[TaskPool]:
    """The pool of *contender* on the running loop; closed at the end."""
    pool = TASK_POOLS[contender](size, wire)
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()
