"""Pools for threads."""

from __future__ import annotations

import queue
from collections.abc import Callable
from itertools import repeat
from operator import methodcaller
from typing import Any, Protocol

from stress.bench.pooling.wire import Connection, Wire, psycopg_class, redis_class

__all__ = ["THREAD_POOLS", "OurThreads", "ThreadPool", "our_pool"]


class ThreadPool(Protocol):
    """What is asked of a pool."""

    def spin(self, times: int) -> None:
        """Lease a connection and give it back, *times* times, in the fastest way it has."""
        ...

    def hold(self, action: Callable[[Any], object]) -> None:
        """Call *action* with a connection, in the way its documentation shows."""
        ...


class _Pairs:
    """A pool with a call that takes and one that gives back."""

    acquire: Callable[[], Any]
    release: Callable[[Any], object]

    def spin(self, times: int) -> None:
        acquire, release = self.acquire, self.release
        for _ in repeat(None, times):
            release(acquire())

    def hold(self, action: Callable[[Any], object]) -> None:
        lease = self.acquire()
        try:
            action(self.connection(lease))
        finally:
            self.release(lease)

    def connection(self, lease: Any) -> Any:
        return lease


class OurThreads:
    """Threads that lease from a `Pool`."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def spin(self, times: int) -> None:
        """Lease and give back."""
        lease = self._pool.lease
        for _ in repeat(None, times):
            with lease():
                pass

    def hold(self, action: Callable[[Any], object]) -> None:
        """Hold one while *action* runs."""
        with self._pool.lease() as connection:
            action(connection)


def our_pool(size: int, wire: Wire, timeout_s: float = 30.0) -> Any:
    """A `Pool` of a plain driver, for threads and tasks alike."""
    from lmi_runtime.pools import Connector, Pool

    connector = Connector(open=wire.open, close=Connection.close)
    return Pool(connector, max_size=size, timeout_s=timeout_s)


def _ours(size: int, wire: Wire, timeout_s: float) -> OurThreads:
    return OurThreads(our_pool(size, wire, timeout_s))


class _PsycopgPool(_Pairs):
    def __init__(self, size: int, wire: Wire, timeout_s: float) -> None:
        from psycopg_pool import ConnectionPool

        fake = psycopg_class(wire, asynchronous=False)
        pool = ConnectionPool(
            connection_class=fake, min_size=0, max_size=size, timeout=timeout_s, open=True
        )
        self.acquire, self.release = pool.getconn, pool.putconn


class _SqlAlchemy(_Pairs):
    def __init__(self, size: int, wire: Wire, timeout_s: float) -> None:
        from sqlalchemy.pool import QueuePool

        creator: Any = wire.open
        pool = QueuePool(creator, pool_size=size, max_overflow=0, timeout=timeout_s)
        self.acquire, self.release = pool.connect, methodcaller("close")

    def connection(self, lease: Any) -> Any:
        return lease.dbapi_connection


class _Redis(_Pairs):
    def __init__(self, size: int, wire: Wire, timeout_s: float) -> None:
        from redis.connection import BlockingConnectionPool

        fake = redis_class(wire, asynchronous=False)
        make: Any = BlockingConnectionPool
        pool = make(max_connections=size, timeout=timeout_s, connection_class=fake)
        self.acquire, self.release = pool.get_connection, pool.release


class _Connpool(_Pairs):
    def __init__(self, size: int, wire: Wire, timeout_s: float) -> None:
        from connpool import ConnectionPool, PoolConfig

        config = PoolConfig(max_size=size, acquire_timeout=timeout_s)
        pool: Any = ConnectionPool.from_callables(wire.open, config=config)
        self.acquire, self.release = pool.acquire, pool.release


class _LifoQueue(_Pairs):
    """The floor: what one writes by hand; no lifetime, no check, no figures."""

    def __init__(self, size: int, wire: Wire, timeout_s: float) -> None:
        free: queue.LifoQueue[Connection | None] = queue.LifoQueue()
        for _ in range(size):
            free.put(None)

        def acquire() -> Connection:
            return free.get(timeout=timeout_s) or wire.open()

        self.acquire, self.release = acquire, free.put


THREAD_POOLS: dict[str, Callable[[int, Wire, float], ThreadPool]] = {
    "lmi_runtime": _ours,
    "psycopg_pool": _PsycopgPool,
    "sqlalchemy": _SqlAlchemy,
    "redis": _Redis,
    "connpool": _Connpool,
    "LifoQueue": _LifoQueue,
}
"""By name; each is made with a size, a wire, and seconds to wait for a connection."""
