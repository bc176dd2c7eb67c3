"""
Connection pools for the clients of redis-py and valkey-py.

    client = redis.Redis(connection_pool=connection_pool("redis://127.0.0.1:6379/0", max_size=8))
    client = redis.asyncio.Redis(connection_pool=async_connection_pool("redis://127.0.0.1"))
    client = valkey.Valkey(connection_pool=connection_pool("valkey://127.0.0.1:6379/0"))

The clients, their commands and their connections stay theirs; who gets which connection, and when,
is decided by our `Pool`. A reply can never reach another request: a connection goes back only when
its last command ran to its end and left nothing behind that the next borrower would notice.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from lmi_runtime import _sync, context
from lmi_runtime.pools.adapters.redis_traces import Traced
from lmi_runtime.pools.model import Connector, PoolStatistics
from lmi_runtime.pools.policy import PoolOptions
from lmi_runtime.pools.pool import Pool

__all__ = ["async_connection_pool", "connection_pool"]

_SOCKET_TIMEOUT_S = 5.0
_LEAST_TIMEOUT_S = 0.001
_OF_POOL = {option.name for option in fields(PoolOptions)} | {"budget", "housekeeping", "name"}
_subclasses: dict[tuple[type[Any], type[Any]], type[Any]] = {}
"""Made at first use, one of each. Single dict operations are atomic."""


def connection_pool(url: str, *, client: type[Any] | None = None, **options: Any) -> Any:
    """
    A `connection_pool` for `redis.Redis` or `valkey.Valkey`, for threads.

    Args:
        url: The server, as the library's own `from_url` takes it. ``valkey://`` means valkey-py.
        client: The client class that will use it, where the URL does not tell which library.
        options: `max_size`, `timeout_s`, `budget`, and whatever else `Pool` takes, is for that. All
            the rest is for each connection, such as `decode_responses`, `protocol` or `retry`.
            `socket_timeout` and `socket_connect_timeout` are 5 seconds unless said otherwise, and
            shorter where the current request ends sooner.

    Returns:
        A subclass of the library's ``ConnectionPool``. ``disconnect()`` closes connections that
        are idle now, and the others as they come back; ``close()`` is final.

    Raises:
        PoolTimeout: From a command: no connection came free in time.
        PoolOverloaded: From a command: too many wait already.
        PoolClosed: From a command: the pool has been closed.
        WrongKindOfCaller: From a command: an event loop runs in this thread, and would stand still.
        ValueError: Client-side caching was asked for, which only the library's own pool can do.

    Thread safety: the pool may be used from any thread, and is made anew in a forked child.
    """
    return _make(_library_of(url, client), "", _Lending, url, options)


def async_connection_pool(url: str, *, client: type[Any] | None = None, **options: Any) -> Any:
    """
    A `connection_pool` for `redis.asyncio.Redis` or `valkey.asyncio.Valkey`, for asyncio's tasks.

    Like `connection_pool`. Connections belong to the event loop that opened them; one pool, and
    one client, serve several loops. ``aclose()`` is final.

    Thread safety: the pool may be used from any loop.
    """
    return _make(_library_of(url, client), ".asyncio", _AsyncLending, url, options)


def _library_of(url: str, client: type[Any] | None) -> str:
    if client is not None:
        return client.__module__.partition(".")[0]
    return "valkey" if url.startswith("valkey") else "redis"


def _make(library: str, kind: str, lending: type[Any], url: str, options: dict[str, Any]) -> Any:
    base = importlib.import_module(f"{library}{kind}").ConnectionPool
    of_pool = {name: options.pop(name) for name in _OF_POOL & options.keys()}
    of_pool.setdefault("name", library)
    _refuse(options)
    for name in ("socket_timeout", "socket_connect_timeout"):
        options.setdefault(name, _SOCKET_TIMEOUT_S)
    options.update(_without_maintenance(library, base))
    return _subclass(base, lending).from_url(url, library=library, lending=of_pool, **options)


def _refuse(options: dict[str, Any]) -> None:
    if "max_connections" in options:
        raise TypeError("max_connections is called max_size here.")
    if options.get("cache") or options.get("cache_config") or options.get("cache_enabled"):
        raise ValueError("Client-side caching needs the library's own pool.")


def _without_maintenance(library: str, base: type[Any]) -> dict[str, Any]:
    # Notices of a server's maintenance change connections behind the back of whoever lends them.
    if "maint_notifications_config" not in inspect.signature(base).parameters:
        return {}
    module = importlib.import_module(f"{library}.maint_notifications")
    return {"maint_notifications_config": module.MaintNotificationsConfig(enabled=False)}


def _subclass(base: type[Any], mixin: type[Any]) -> type[Any]:
    name = mixin.__name__.strip("_") + base.__name__
    made = _subclasses.get((base, mixin)) or type(name, (mixin, base), {"__module__": __name__})
    return _subclasses.setdefault((base, mixin), made)


class _Common:
    """
    A library's `ConnectionPool`, with `lender` in place of its lists of connections.

    Thread safety: from any thread, or any loop.
    """

    asynchronous = False
    _abandon: Callable[[Any], object] | None = None
    connection_class: type[Any]
    connection_kwargs: dict[str, Any]
    lender: Pool[Any] | None = None  # None only while the library's part is being made

    def __init__(self, *args: Any, library: str, lending: dict[str, Any], **options: Any) -> None:
        super().__init__(*args, **options)
        errors = importlib.import_module(f"{library}.exceptions")
        self._no_transaction = errors.ResponseError
        self._harmless = (errors.ResponseError, errors.WatchError)
        self._broken = (errors.ConnectionError, errors.TimeoutError, OSError)
        self._unready = errors.ConnectionError
        self.connection_class = _subclass(self.connection_class, Traced)
        self.lender = Pool(self._connector(library), **lending)

    def _connector(self, library: str) -> Connector[Any]:
        of: Any = self
        return Connector(
            open=of._open,
            close=of._close,
            check=of._check,
            reset=of._reset,
            needs_reset=lambda connection: connection.traces.unended != "",
            usable=Traced.usable,
            abandon=self._abandon,
            name=library,
            asynchronous=self.asynchronous,
        )

    def make_connection(self) -> Any:
        """A connection that is not connected yet. How many there are is the lender's affair."""
        return self.connection_class(**self.connection_kwargs)

    def reset(self) -> None:
        """Open every connection anew: those that are idle now, the others as they come back."""
        super().reset()  # type: ignore[misc]
        if self.lender is not None:
            self.lender.drain()

    def set_retry(self, retry: Any) -> None:
        """Let connections retry like this; they are opened anew for it."""
        self.connection_kwargs.update(retry=retry)
        self.reset()

    def _attempts(self) -> int:
        # So many can have gone bad while they were idle; the next has just been opened.
        assert self.lender is not None
        return self.lender.options.max_size + 1

    def statistics(self) -> PoolStatistics:
        """What the pool has done, and how it is."""
        assert self.lender is not None
        return self.lender.statistics()

    def get_connection_count(self) -> list[tuple[int, dict[str, Any]]]:
        """Connections that are idle, and that are in use, each with its attributes."""
        now = self.statistics()
        kinds = (("idle", now.idle), ("used", now.lent))
        name = {"db.client.connection.pool.name": now.name}
        return [(count, {**name, "db.client.connection.state": kind}) for kind, count in kinds]


class _Lending(_Common):
    lender: Pool[Any]

    def get_connection(self, command_name: object = None, *keys: object, **options: object) -> Any:
        """
        Borrow a connection, until `release`.

        Raises:
            PoolTimeout, PoolOverloaded, PoolClosed: There is none for this request.
        """
        for _ in range(self._attempts()):
            lease = self.lender.lease()
            connection = lease.acquire()
            if self._is_quiet(connection):
                connection.lent(lease)
                self._limit(connection)
                return connection
            lease.discard()
            lease.release()
        raise self._unready("The server ends connections as soon as they are open.")

    def release(self, connection: Any) -> None:
        """Give a connection back; nothing happens when that was done already."""
        lease = connection.returned(self._harmless)
        if lease is None:
            return
        self._unlimit(connection)
        lease.release()

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections that are idle now, and the others as they come back."""
        self.lender.drain()

    def close(self) -> None:
        """Close all connections, and lend no more."""
        self.lender.close()

    def re_auth_callback(self, token: object) -> None:
        """Use new credentials: connections that are opened from now on have them."""
        self.lender.drain()

    def _open(self) -> Any:
        connection = self.make_connection()
        try:
            connection.connect()
        except BaseException:
            connection.disconnect()
            raise
        connection.traces.forget()
        return connection

    def _close(self, connection: Any) -> None:
        connection.disconnect()

    @staticmethod
    def _abandon(connection: Any) -> None:
        # In a child, this closes its copy of the socket and tells the server nothing.
        connection.disconnect()

    def _check(self, connection: Any) -> None:
        connection.send_command("PING", check_health=False)
        connection.read_response()

    def _reset(self, connection: Any) -> None:
        word = "DISCARD" if connection.traces.unended == "MULTI" else "UNWATCH"
        connection.send_command(word, check_health=False)
        with contextlib.suppress(self._no_transaction):  # the server may have ended it itself
            connection.read_response()
        connection.traces.forget()

    def _is_quiet(self, connection: Any) -> bool:
        # What can be read is the end of the connection, or an answer that nobody asked for.
        try:
            return not connection.can_read()
        except self._broken:
            return False

    def _limit(self, connection: Any) -> None:
        left_s = max(_LEAST_TIMEOUT_S, context.deadline_s() - _sync.monotonic())
        if left_s == math.inf:
            return
        own_s = connection.socket_timeout
        if own_s is None or left_s < own_s:
            connection._sock.settimeout(left_s)
            connection.limited = True

    def _unlimit(self, connection: Any) -> None:
        if connection.limited:
            connection.limited = False
            if connection._sock is not None:
                connection._sock.settimeout(connection.socket_timeout)


class _AsyncLending(_Common):
    asynchronous = True
    lender: Pool[Any]

    async def get_connection(
        self, command_name: object = None, *keys: object, **options: object
    ) -> Any:
        """
        Borrow a connection, until `release`.

        Raises:
            PoolTimeout, PoolOverloaded, PoolClosed: There is none for this request.
        """
        for _ in range(self._attempts()):
            lease = self.lender.lease()
            connection = await lease.aacquire()
            if await self._is_quiet(connection, lease):
                connection.lent(lease)
                return connection
            lease.discard()
            await lease.arelease()
        raise self._unready("The server ends connections as soon as they are open.")

    async def release(self, connection: Any) -> None:
        """Give a connection back; nothing happens when that was done already."""
        lease = connection.returned(self._harmless)
        if lease is not None:
            await lease.arelease()

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections that are idle now, and the others as they come back."""
        self.lender.drain()

    async def aclose(self) -> None:
        """Close all connections, and lend no more."""
        await self.lender.aclose()

    async def re_auth_callback(self, token: object) -> None:
        """Use new credentials: connections that are opened from now on have them."""
        self.lender.drain()

    async def _open(self) -> Any:
        connection = self.make_connection()
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        connection.traces.forget()
        return connection

    async def _close(self, connection: Any) -> None:
        await connection.disconnect()

    async def _check(self, connection: Any) -> None:
        await connection.send_command("PING", check_health=False)
        await connection.read_response()

    async def _reset(self, connection: Any) -> None:
        word = "DISCARD" if connection.traces.unended == "MULTI" else "UNWATCH"
        await connection.send_command(word, check_health=False)
        with contextlib.suppress(self._no_transaction):  # the server may have ended it itself
            await connection.read_response()
        connection.traces.forget()

    async def _is_quiet(self, connection: Any, lease: Any) -> bool:
        probe = getattr(connection, "can_read", None) or connection.can_read_destructive
        try:
            return not await probe()
        except self._broken:
            return False
        except BaseException:
            lease.discard()
            await lease.arelease()
            raise
