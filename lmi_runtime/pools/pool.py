"""Lend connections to threads and tasks alike, first come first served."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from lmi_runtime._lazy import ON_LOOPS, ahead
from lmi_runtime.errors import ConfigurationError
from lmi_runtime.pools.accounts import statistics_locked
from lmi_runtime.pools.engine import DEFAULT_MAX_SIZE, Engine
from lmi_runtime.pools.keeper import keeper
from lmi_runtime.pools.lease import Lease
from lmi_runtime.pools.model import Budget, Connector, PoolStatistics
from lmi_runtime.pools.policy import PoolOptions

__all__ = ["Pool"]

C = TypeVar("C")

_pools: weakref.WeakSet[Pool[Any]] = weakref.WeakSet()
"""For forks. Changed in one atomic step."""


class Pool(Generic[C]):
    """
    Connections that requests share, one at a time each.

    ``with pool.lease() as connection`` is for threads, ``async with pool.lease() as connection``
    for tasks of asyncio, uvloop and trio; one pool serves them all, in the order they came. It
    may be made at import: nothing is opened before somebody needs it, and a forked child opens
    connections of its own.

    Connections from a plain function are opened, checked and closed in threads of the pool, and
    may be used by any thread or task. Those from an ``async def`` belong to the event loop that
    they were opened on, and only tasks of that loop get them.

    Args:
        connect: Opens a connection; or a `Connector`, as the adapters make them.
        max_size: Connections that may be open at once. By default one for each invocation that
            this worker serves at once, at most 8.
        min_size: Connections that stay open, once the pool is in use.
        timeout_s: Longest wait for a connection; a request never waits past its deadline.
        max_waiting: Requests that may wait beyond those that a connection is being opened for;
            None for any number.
        max_lifetime_s: Age at which a connection is replaced, less up to a tenth, so that those
            that were opened together are not replaced together. None: never.
        max_idle_s: A connection that nobody used for so long is closed. None: never.
        bypass_check_s: A connection that came back less than so long ago is lent unchecked.
        open_timeout_s: Longest time for an ``async def`` that opens a connection.
        io_timeout_s: Longest time for a check, a reset or a goodbye.
        leak_after_s: A lease that lasts longer is told of in the log, with where it was taken
            and for which request. None: never.
        reset_after_cancel: A connection whose block was left by a cancellation is closed, since
            it may be in the middle of an exchange. True: it is reset and lent again.
        close: Closes a connection, which is asked to `close()` itself by default; see `Connector`
            for this and the next.
        check: One round trip to an idle connection.
        reset: Brings a connection back to how it was opened.
        budget: A `ConnectionBudget` that this pool takes a permit from for each connection.
        name: What logs and errors call it.
        housekeeping: False: no thread looks after the pool. Idle connections then stay open, and
            leaks are not noticed.

    Raises:
        ConfigurationError: A limit cannot be kept.

    Thread safety: from any thread and task, and from several event loops at once.
    """

    def __init__(
        self,
        connect: Callable[[], Any] | Connector[C],
        *,
        max_size: int | None = None,
        min_size: int = 0,
        timeout_s: float = 30.0,
        max_waiting: int | None = None,
        max_lifetime_s: float | None = 1800.0,
        max_idle_s: float | None = 300.0,
        bypass_check_s: float = 0.5,
        open_timeout_s: float = 30.0,
        io_timeout_s: float = 5.0,
        leak_after_s: float | None = 60.0,
        reset_after_cancel: bool = False,
        close: Callable[[C], Any] | None = None,
        check: Callable[[C], Any] | None = None,
        reset: Callable[[C], Any] | None = None,
        budget: Budget | None = None,
        name: str | None = None,
        housekeeping: bool = True,
    ) -> None:
        options = PoolOptions(
            max_size=max(DEFAULT_MAX_SIZE, min_size) if max_size is None else max_size,
            min_size=min_size,
            timeout_s=timeout_s,
            max_waiting=max_waiting,
            max_lifetime_s=max_lifetime_s,
            max_idle_s=max_idle_s,
            bypass_check_s=bypass_check_s,
            open_timeout_s=open_timeout_s,
            io_timeout_s=io_timeout_s,
            leak_after_s=leak_after_s,
            reset_after_cancel=reset_after_cancel,
        )
        connector = _connector(connect, close, check, reset)
        if connector.asynchronous:
            ahead(*ON_LOOPS)
        self._sized_by_worker = max_size is None
        self._housekeeping = housekeeping
        name = name or connector.name
        self._engine: Engine[C] = self._new_engine(connector, name, options, budget)
        """Leases use it, too."""
        _pools.add(self)

    def _new_engine(
        self, connector: Connector[C], name: str, options: PoolOptions, budget: Budget | None
    ) -> Engine[C]:
        return Engine(
            connector,
            name,
            options,
            budget=budget,
            tended=self._housekeeping,
            sized_by_worker=self._sized_by_worker,
        )

    @property
    def name(self) -> str:
        """What logs and errors call it."""
        return self._engine.name

    @property
    def options(self) -> PoolOptions:
        """The limits now; `resize` changes them."""
        return self._engine.options

    @property
    def budget(self) -> Budget | None:
        """Where its permits come from."""
        return self._engine.budget

    def lease(self, *, timeout_s: float | None = None) -> Lease[C]:
        """
        Borrow a connection: ``with`` in threads, ``async with`` in tasks.

        Args:
            timeout_s: Longest wait for it; the pool's own by default. Never past the deadline
                of the request.

        Raises:
            PoolTimeout: On entering: none became free in time.
            PoolOverloaded: On entering: too many requests wait already.
            PoolClosed: On entering: the pool has been closed.
            WrongKindOfCaller: On entering: see `Lease.acquire`.
            Exception: On entering: what opening a connection raised.
        """
        return Lease(self, timeout_s)

    def statistics(self) -> PoolStatistics:
        """What the pool has done, and how it is."""
        state = self._engine.state
        with state.lock:
            return statistics_locked(state)

    def resize(self, *, max_size: int | None = None, min_size: int | None = None) -> None:
        """
        Change how many connections may, or have to be, open.

        What is too much is closed: idle connections now, lent ones when they come back.

        Raises:
            ConfigurationError: A limit cannot be kept.
        """
        self._engine.resize(min_size, max_size)
        if max_size is not None:
            self._sized_by_worker = False  # in children neither

    def drain(self) -> None:
        """Replace every connection: idle ones are closed now, lent ones when they come back."""
        self._engine.drain()

    def close(self, timeout_s: float = 5.0) -> None:
        """
        Lend nothing any more, and wait until every connection is closed.

        Those who wait get PoolClosed. What is still lent when time is up is named in the log,
        and closed when it comes back. When the process stops, the runtime closes all pools.

        Args:
            timeout_s: Longest wait for what is lent to come back.

        Thread safety: from any thread that runs no event loop.
        """
        self._engine.close(timeout_s)

    async def aclose(self, timeout_s: float = 5.0) -> None:
        """Like `close`, from a task."""
        await self._engine.aclose(timeout_s)

    def begin_anew(self) -> None:
        """In a child: what is open belongs to the parent. No other thread runs yet."""
        old = self._engine
        old.leave_to_parent()
        self._engine = self._new_engine(old.connector, old.name, old.options, old.budget)

    def __repr__(self) -> str:
        facts = self.statistics()
        return (
            f"<Pool {facts.name!r}: {facts.lent} lent, {facts.idle} idle, "
            f"{facts.max_size} at most, {facts.waiting} waiting>"
        )


def _connector(
    connect: Callable[[], Any] | Connector[C],
    close: Callable[[C], Any] | None,
    check: Callable[[C], Any] | None,
    reset: Callable[[C], Any] | None,
) -> Connector[C]:
    if isinstance(connect, Connector):
        if close or check or reset:
            raise ConfigurationError("A Connector says itself how to close, check and reset.")
        return connect
    if not callable(connect):
        raise ConfigurationError(f"{connect!r} opens no connection: it cannot be called.")
    import inspect  # one of the largest; a function may use adapters only

    asynchronous = inspect.iscoroutinefunction(connect)
    for name, function in (("close", close), ("check", check), ("reset", reset)):
        if function is not None and inspect.iscoroutinefunction(function) is not asynchronous:
            kind = "an async function, as connect is" if asynchronous else "a plain function"
            raise ConfigurationError(f"{name} has to be {kind}.")
    if close is None:
        close = _aclose_by_itself if asynchronous else _close_by_itself
    return Connector(open=connect, close=close, check=check, reset=reset, asynchronous=asynchronous)


def _close_by_itself(connection: Any) -> None:
    close = getattr(connection, "close", None)
    if callable(close):
        close()


async def _aclose_by_itself(connection: Any) -> None:
    import inspect

    close = getattr(connection, "close", None)
    if callable(close) and inspect.isawaitable(closed := close()):
        await closed


def _in_child() -> None:
    of_parent = keeper()
    keeper.begin_anew()
    for pool in list(_pools):
        pool.begin_anew()
    of_parent.forget()  # not before: something has to refer to what they had


os.register_at_fork(after_in_child=_in_child)
