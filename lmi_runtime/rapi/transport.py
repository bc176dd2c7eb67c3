"""
Connections to the Runtime API: what one is, and how they are kept and used again.

Two shells stand behind the one contract, `asyncio_transport` for the hot path and
`anyio_transport` for every other event loop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from lmi_runtime.errors import ConfigurationError, RuntimeApiError
from lmi_runtime.rapi.http import Response

__all__ = [
    "CONNECT_TIMEOUT_S",
    "Connect",
    "ConnectFailed",
    "Connection",
    "ConnectionPool",
    "HungUp",
    "split_address",
]

CONNECT_TIMEOUT_S = 1.0
"""Seconds a connection may take; the Runtime API is on the same machine."""


class ConnectFailed(RuntimeApiError):
    """No connection was made, so nothing can have been sent."""


class HungUp(RuntimeApiError):
    """
    The connection ended before the response was complete.

    Attributes:
        silent: No byte of the response had come.
    """

    def __init__(self, *, silent: bool) -> None:
        when = "without an answer" if silent else "in the middle of an answer"
        super().__init__(f"The Runtime API hung up {when}.")
        self.silent = silent


class Connection(Protocol):
    """
    One connection; one request at a time. There is no time limit on an answer.

    Thread safety: loop thread only.

    Attributes:
        reusable: Another request may be sent once the response to the last one is in.
        answered: Sending more is pointless: an answer has come already, or the peer is gone.
    """

    @property
    def reusable(self) -> bool: ...

    @property
    def answered(self) -> bool: ...

    async def exchange(self, request: bytes) -> Response:
        """
        Send a whole request and wait for its response.

        Raises:
            HungUp: The connection ended first.
            RuntimeApiError: What came is not HTTP.
        """
        ...

    async def send(self, data: bytes) -> None:
        """
        Send a part of a request; returns when more may follow (back-pressure).

        Never raises for a broken connection: the answer may have come before it broke, and
        `receive()` tells.
        """
        ...

    async def receive(self) -> Response:
        """Wait for the response to what was sent; raises as `exchange()` does."""
        ...

    async def aclose(self) -> None:
        """Close at once; a call under way on another task ends with `HungUp`."""
        ...


Connect = Callable[[str, int], Awaitable[Connection]]
"""Connects to a host and a port, or raises `ConnectFailed`."""


class ConnectionPool:
    """
    Keep-alive connections to one address, the last used first.

    It makes as many as are used at once and never queues; its user's concurrency bounds it.

    Thread safety: loop thread only.

    Args:
        host: Where to connect.
        port: Where to connect.
        connect: How to connect.
        attempts: How often to try before a connection is not to be had.
    """

    def __init__(self, host: str, port: int, connect: Connect, *, attempts: int = 1) -> None:
        self._host = host
        self._port = port
        self._connect = connect
        self._attempts = attempts
        # All three: loop thread only.
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._closed = False

    async def exchange(self, request: bytes) -> Response:
        """
        Send `request` and wait for the response.

        A kept connection may have died unnoticed; when it does so without a word, the request
        is sent once more on a new one. It may then arrive twice, which does no harm: the
        second answer to an invocation is refused, and a poll that nobody reads has ended.

        Raises:
            ConnectFailed: There is no connection to be had.
            HungUp: The connection ended before the response was complete.
            RuntimeApiError: What came is not HTTP.
        """
        while self._idle:
            connection = self._idle.pop()
            if not connection.reusable:
                await connection.aclose()
                continue
            try:
                return await self._use(connection, request)
            except HungUp as exc:
                if not exc.silent or self._closed:
                    raise
                break
        return await self._use(await self._open(), request)

    async def lend(self) -> Connection:
        """
        Make a connection that nothing else uses before or after; end it with `take_back`.

        Raises:
            ConnectFailed: There is no connection to be had.
        """
        connection = await self._open()
        self._busy.add(connection)
        return connection

    async def take_back(self, connection: Connection) -> None:
        """Close a connection that was lent."""
        self._busy.discard(connection)
        await connection.aclose()

    async def aclose(self) -> None:
        """Close every connection, those in use included."""
        self._closed = True
        connections = [*self._idle, *self._busy]
        self._idle.clear()
        for connection in connections:
            await connection.aclose()

    async def _open(self) -> Connection:
        connection = None if self._closed else await self._try_to_connect()
        if connection is None or self._closed:  # closed meanwhile, perhaps
            if connection is not None:
                await connection.aclose()
            raise ConnectFailed("The connections to the Runtime API are closed.")
        return connection

    async def _try_to_connect(self) -> Connection:
        for _ in range(self._attempts - 1):
            with contextlib.suppress(ConnectFailed):
                return await self._connect(self._host, self._port)
        return await self._connect(self._host, self._port)

    async def _use(self, connection: Connection, request: bytes) -> Response:
        self._busy.add(connection)
        try:
            response = await connection.exchange(request)
        except BaseException:
            # Also when cancelled: a response that still comes would meet the next request.
            await connection.aclose()
            raise
        finally:
            self._busy.discard(connection)
        if connection.reusable and not self._closed:
            self._idle.append(connection)
        else:
            await connection.aclose()
        return response


def split_address(address: str) -> tuple[str, int]:
    """
    Split ``host:port``.

    Raises:
        ConfigurationError: It is not that.
    """
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ConfigurationError(f"AWS_LAMBDA_RUNTIME_API={address!r} is not host:port.")
    return host.strip("[]"), int(port)
