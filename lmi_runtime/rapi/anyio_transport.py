"""Connections on any event loop that anyio knows; in practice, on trio."""

from __future__ import annotations

import select

import anyio
from anyio.abc import SocketAttribute, SocketStream

from lmi_runtime.errors import RuntimeApiError
from lmi_runtime.rapi.http import Response, ResponseParser
from lmi_runtime.rapi.transport import CONNECT_TIMEOUT_S, ConnectFailed, Connection, HungUp

__all__ = ["AnyioConnection", "connect_anyio"]

_READ_BYTES = 64 * 1024


async def connect_anyio(host: str, port: int) -> Connection:
    """
    Connect; anyio's backends set TCP_NODELAY themselves.

    Raises:
        ConnectFailed: Refused, or not made within `CONNECT_TIMEOUT_S`.
    """
    try:
        with anyio.fail_after(CONNECT_TIMEOUT_S):
            stream = await anyio.connect_tcp(host, port)
    except OSError as exc:  # TimeoutError is one
        raise ConnectFailed(f"Cannot connect to the Runtime API: {exc!r}") from exc
    return AnyioConnection(stream)


class AnyioConnection:
    """
    See `transport.Connection`.

    Thread safety: loop thread only, and so is every attribute.
    """

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._parser = ResponseParser()
        self._broken = False
        self._readable = select.poll()
        self._readable.register(stream.extra(SocketAttribute.raw_socket).fileno(), select.POLLIN)

    @property
    def reusable(self) -> bool:
        """See `transport.Connection`; False also when the idle peer has said something."""
        # Nobody reads while it is idle. A farewell must not become the next request's answer.
        return self._parser.reusable and not self._broken and not self._readable.poll(0)

    @property
    def answered(self) -> bool:
        """See `transport.Connection`; an early answer shows when the peer closes."""
        return self._broken

    async def exchange(self, request: bytes) -> Response:
        """See `transport.Connection`."""
        await self.send(request)
        return await self.receive()

    async def send(self, data: bytes) -> None:
        """See `transport.Connection`."""
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._broken = True
        except BaseException:
            # Cancelled with a part of it sent, nobody knows how much: nothing may follow that.
            await self.aclose()
            raise

    async def receive(self) -> Response:
        """See `transport.Connection`."""
        response = None
        while response is None:
            try:
                data = await self._stream.receive(_READ_BYTES)
            except anyio.EndOfStream:
                return self._end_of_stream()
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                self._broken = True
                raise HungUp(silent=not self._parser.started) from None
            response = self._parser.feed(data)
        return response

    async def aclose(self) -> None:
        """See `transport.Connection`."""
        self._broken = True
        await anyio.aclose_forcefully(self._stream)

    def _end_of_stream(self) -> Response:
        self._broken = True
        try:
            response = self._parser.feed_eof()
        except RuntimeApiError:
            raise HungUp(silent=False) from None
        if response is None:
            raise HungUp(silent=True)
        return response
