"""
A pool for SQLAlchemy's engines.

    engine = create_engine(url, poolclass=LmiPool, pool_size=4)
    engine = create_async_engine(url, poolclass=LmiPool, pool_size=4, budget=budget)

Engines, sessions, events, ``pool_pre_ping``, ``pool_recycle`` and `dispose` stay as they are; who
gets which connection, and when, is decided by our `Pool`. Its limits are arguments of
`create_engine`, too.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from importlib import import_module
from typing import Any, TypeVar

import sqlalchemy.exc
import sqlalchemy.pool
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util import await_only, greenlet_spawn

from lmi_runtime import _sync
from lmi_runtime.errors import PoolClosed, PoolTimeout
from lmi_runtime.pools.adapters.sockets import let_go_of_socket
from lmi_runtime.pools.inherited import leave_to_parent
from lmi_runtime.pools.lease import Lease
from lmi_runtime.pools.model import Budget, Connector, PoolStatistics
from lmi_runtime.pools.pool import Pool

__all__ = ["LmiPool", "LmiPoolTimeout"]

T = TypeVar("T")

Lender = Pool[ConnectionPoolEntry]

_WITH_ADAPTERS = frozenset(("asyncpg", "psycopg"))
_DISPOSE_S = 5.0
_LOOK_AGAIN_S = 0.005

_taken: ContextVar[list[ConnectionPoolEntry]] = ContextVar("taken")
"""What the `connect` that runs has taken from our pool."""


class LmiPoolTimeout(PoolTimeout, sqlalchemy.exc.TimeoutError):
    """No connection became free in time: ours and SQLAlchemy's error in one."""


class LmiPool(sqlalchemy.pool.Pool):
    """
    Lends an engine's connections, first come first served; for sync and async engines.

    An async engine may be used from several event loops, each with connections of its own. In a
    forked child every engine opens connections of its own, without `dispose`; only do not fork
    while another thread makes an engine's very first connection, under a lock of SQLAlchemy's.

    Args:
        creator: Opens a DB-API connection; the engine's.
        pool_size: Connections that may be open at once, as `Pool`'s `max_size`.
        max_overflow: That many more.
        timeout: Longest wait for a connection, in seconds: the engine's ``pool_timeout``.
        budget: A `ConnectionBudget` to take a permit from for each connection.
        min_size: See `Pool` for this and the rest.
        max_waiting: See there.
        max_lifetime_s: See there.
        max_idle_s: See there.
        bypass_check_s: Likewise. Connections are checked with the dialect's ping, or at each
            checkout and by SQLAlchemy with ``pool_pre_ping=True``.
        open_timeout_s: See there.
        leak_after_s: See there.
        options: For `sqlalchemy.pool.Pool`.

    Thread safety: from any thread; with an async engine, from tasks of any loop.
    """

    # Parameters that could be given by position only in theory: `create_engine` does not see those
    # that cannot.
    def __init__(
        self,
        creator: Any,
        pool_size: int | None = None,
        max_overflow: int = 0,
        timeout: float = 30.0,
        budget: Budget | None = None,
        min_size: int = 0,
        max_waiting: int | None = None,
        max_lifetime_s: float | None = 1800.0,
        max_idle_s: float | None = 300.0,
        bypass_check_s: float = 0.5,
        open_timeout_s: float = 30.0,
        leak_after_s: float | None = 60.0,
        **options: Any,
    ) -> None:
        super().__init__(creator, **options)
        self._limits: dict[str, Any] = {
            "max_size": None if pool_size is None else pool_size + max_overflow,
            "timeout_s": timeout,
            "budget": budget,
            "min_size": min_size,
            "max_waiting": max_waiting,
            "max_lifetime_s": max_lifetime_s,
            "max_idle_s": max_idle_s,
            "bypass_check_s": bypass_check_s,
            "open_timeout_s": open_timeout_s,
            "leak_after_s": leak_after_s,
        }
        self._made_in = os.getpid()
        # Keyed by record: what was lent, by which pool, and to whom. Single dict operations are
        # atomic.
        self._leases: dict[ConnectionPoolEntry, tuple[Lender, Lease[ConnectionPoolEntry]]] = {}
        self._borrowers: dict[ConnectionPoolEntry, weakref.ref[PoolProxiedConnection]] = {}
        self._first_turn = _sync.Lock()
        self._connected = False  # becomes True once, in one step
        self.lender = self._make_lender()
        """The pool that lends; `dispose` replaces it, in one step."""

    def statistics(self) -> PoolStatistics:
        """What the pool has done since it was last disposed of, and how it is."""
        return self.lender.statistics()

    # ------------------------------------------------------------ what SQLAlchemy asks for

    def connect(self) -> PoolProxiedConnection:
        """Return a DB-API connection from the pool."""
        taken: list[ConnectionPoolEntry] = []
        token = _taken.set(taken)
        try:
            borrowed = super().connect()
        except BaseException:
            # Cancelled again while it gives a connection back, SQLAlchemy may leave it at that.
            for record in taken:
                self._give_back(record, again=False)
            raise
        finally:
            _taken.reset(token)
        record = taken[-1]
        # With a callback, or the garbage collector may leave it in place until it is too late.
        self._borrowers[record] = weakref.ref(borrowed, _nothing)
        return borrowed

    def _do_get(self) -> ConnectionPoolEntry:
        while True:
            lender = self.lender
            lease = lender.lease()
            try:
                record = self._wait(lease.aacquire) if self._is_asyncio else lease.acquire()
            except PoolTimeout as error:
                raise LmiPoolTimeout(str(error)) from error
            except PoolClosed:
                if lender is self.lender:
                    raise
                continue  # disposed of meanwhile
            self._leases[record] = lender, lease
            _taken.get().append(record)
            return record

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        borrower = self._borrowers.pop(record, None)
        if borrower is not None and borrower() is None:
            # A finalizer: it may have interrupted anything, even our pool under its lock. A lease
            # that is dropped is seen to by the pool's own thread, and told of as a leak.
            self._leases.pop(record, None)
        else:
            self._give_back(record, again=True)

    def _give_back(self, record: ConnectionPoolEntry, *, again: bool) -> None:
        lender, lease = self._leases.pop(record, (None, None))
        if lease is None:
            return
        if not again or lender is not self.lender:
            # A pool that was disposed of serves those who waited in it, and nobody after them.
            lease.discard()
        # Not for threads only, since nothing is reset: that neither blocks nor needs a loop.
        lease.release()

    def recreate(self) -> LmiPool:
        """A new pool like this one."""
        self.logger.info("Pool recreating")
        limits = dict(self._limits)
        return self.__class__(
            self._creator,
            pool_size=limits.pop("max_size"),
            timeout=limits.pop("timeout_s"),
            recycle=self._recycle,
            echo=self.echo,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            pre_ping=self._pre_ping,
            _dispatch=self.dispatch,
            dialect=self._dialect,
            **limits,
        )

    def dispose(self) -> None:
        """Close idle connections, and the others when they come back."""
        lender, self.lender = self.lender, self._make_lender()
        lender.resize(min_size=0)
        if lender.statistics().lent:
            lender.drain()
        elif self._is_asyncio:
            self._wait(lambda: lender.aclose(_DISPOSE_S))
        else:
            lender.close(_DISPOSE_S)
        self.logger.info("Pool disposed. %s", self.status())

    def status(self) -> str:
        """How the pool is, in words."""
        now = self.statistics()
        return (
            f"Pool size: {now.max_size}  Connections in pool: {now.idle} "
            f"Current Checked out connections: {now.lent}  Waiting: {now.waiting}"
        )

    def size(self) -> int:
        """Connections that may be open."""
        return self.statistics().max_size

    def timeout(self) -> float:
        """Longest wait for a connection, in seconds."""
        return self.lender.options.timeout_s

    def checkedin(self) -> int:
        """Connections that are idle."""
        return self.statistics().idle

    def checkedout(self) -> int:
        """Connections that are lent."""
        return self.statistics().lent

    def overflow(self) -> int:
        """None: connections beyond `pool_size` are not told apart."""
        return 0

    # -------------------------------------------------------------- what our pool asks for

    def _make_lender(self) -> Lender:
        return Pool(self._connector(), name=self.logging_name or "sqlalchemy", **self._limits)

    def _connector(self) -> Connector[ConnectionPoolEntry]:
        check = self._check if self._may_ping() else None
        adapt = _in_greenlet if self._is_asyncio else _as_it_is
        return Connector(
            open=self._open_in_turn if self._is_asyncio else self._create_connection,
            close=adapt(lambda record: record.close()),
            check=check and adapt(check),
            usable=_is_connected,
            abandon=self._abandon,
            name="sqlalchemy",
            asynchronous=bool(self._is_asyncio),
        )

    async def _open_in_turn(self) -> ConnectionPoolEntry:
        # SQLAlchemy makes an engine's first connection under a lock that belongs to one event
        # loop; another loop that waited for it would never be woken.
        while not self._connected:
            if self._first_turn.acquire(blocking=False):
                try:
                    record = await greenlet_spawn(self._create_connection)
                    self._connected = True
                    return record
                finally:
                    self._first_turn.release()
            await asyncio.sleep(_LOOK_AGAIN_S)
        return await greenlet_spawn(self._create_connection)

    def _may_ping(self) -> bool:
        # SQLAlchemy's own pinging tells listeners, and replaces what is dead in place.
        return not self._pre_ping and hasattr(self._dialect, "do_ping")

    def _check(self, record: ConnectionPoolEntry) -> None:
        dialect: Any = self._dialect
        if record.dbapi_connection is not None and not dialect.do_ping(record.dbapi_connection):
            raise ConnectionError("The database does not answer.")

    def _abandon(self, record: Any) -> None:
        if os.getpid() != self._made_in:
            leave_to_parent(record.dbapi_connection)
        _let_go(record.driver_connection)
        # Nobody, and no finalizer, rolls it back any more.
        record.dbapi_connection = None

    def _wait(self, function: Callable[[], Awaitable[T]]) -> T:
        return await_only(function())


def _is_connected(record: ConnectionPoolEntry) -> bool:
    if record.dbapi_connection is None:
        return False
    # A driver that was interrupted may have closed it, and SQLAlchemy not have noticed.
    driver: Any = record.driver_connection
    ask = getattr(driver, "is_closed", None)
    return not (getattr(driver, "closed", False) if ask is None else ask())


def _as_it_is(function: Callable[..., T]) -> Callable[..., T]:
    return function


def _in_greenlet(function: Callable[..., T]) -> Callable[..., Awaitable[T]]:
    # An async engine's connections wait with `await_only`, which works in greenlets alone.
    async def run(*arguments: Any) -> T:
        return await greenlet_spawn(function, *arguments)

    return run


def _nothing(_: object) -> None: ...


def _let_go(driver: Any) -> None:
    """Of the socket of any driver that shows it, as psycopg2 does."""
    library = type(driver).__module__.partition(".")[0]
    if library in _WITH_ADAPTERS:
        import_module(f"lmi_runtime.pools.adapters.{library}").abandon(driver)
    elif hasattr(driver, "fileno"):
        let_go_of_socket(driver.fileno())
