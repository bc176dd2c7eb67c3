"""
Connections on asyncio and uvloop, with as little between the socket and the parser as can be.

Every invocation passes here twice. A stream abstraction would cost a task switch and a copy of
every read; a protocol that feeds the parser as soon as bytes are there costs neither.
"""

from __future__ import annotations

import asyncio
from typing import cast

from lmi_runtime._sync import ThreadLocal
from lmi_runtime.errors import RuntimeApiError
from lmi_runtime.rapi.http import Response, ResponseParser
from lmi_runtime.rapi.transport import CONNECT_TIMEOUT_S, ConnectFailed, Connection, HungUp

__all__ = ["AsyncioConnection", "connect_asyncio"]


async def connect_asyncio(host: str, port: int) -> Connection:
    """
    Connect; asyncio and uvloop set TCP_NODELAY themselves.

    Raises:
        ConnectFailed: Refused, or not made within `CONNECT_TIMEOUT_S`.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, connection = await loop.create_connection(
                lambda: AsyncioConnection(loop), host, port
            )
    except OSError as exc:  # TimeoutError is one
        raise ConnectFailed(f"Cannot connect to the Runtime API: {exc!r}") from exc
    return connection


class _Buffers(ThreadLocal):
    # One for all connections of a loop: nothing else runs between the read into it and the
    # parser's copy out of it. Not one per process, because there may be loops in two threads.
    # `data_received` would allocate 256 KiB for every read, which costs twice the system time.
    def __init__(self) -> None:
        self.shared = memoryview(bytearray(_READ_BYTES))


_READ_BYTES = 64 * 1024
_buffers = _Buffers()


class AsyncioConnection(asyncio.BufferedProtocol):
    """
    See `transport.Connection`.

    Thread safety: loop thread only, and so is every attribute.
    """

    _transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = ResponseParser()
        self._buffer = _buffers.shared
        self._lost = False
        self._expecting = False  # a request has been sent, at least in part, and not answered
        # A result and a bare wake-up instead of a future of the result: nobody may ever ask
        # for it, and asyncio complains about futures whose exception nobody asked for.
        self._result: Response | RuntimeApiError | None = None
        self._wake_receiver: asyncio.Future[None] | None = None
        self._paused = False
        self._wake_sender: asyncio.Future[None] | None = None

    @property
    def reusable(self) -> bool:
        """See `transport.Connection`."""
        return self._parser.reusable and not self._lost

    @property
    def answered(self) -> bool:
        """See `transport.Connection`."""
        return self._result is not None or self._lost

    async def exchange(self, request: bytes) -> Response:
        """See `transport.Connection`."""
        self._start_sending(request)
        return await self.receive()

    async def send(self, data: bytes) -> None:
        """See `transport.Connection`."""
        self._start_sending(data)
        if self._paused and not self._lost:
            self._wake_sender = self._loop.create_future()
            await self._wake_sender

    async def receive(self) -> Response:
        """See `transport.Connection`."""
        if self._result is None:
            self._wake_receiver = self._loop.create_future()
            await self._wake_receiver
        result = self._result
        self._result = None
        if isinstance(result, Response):
            return result
        assert result is not None
        raise result

    async def aclose(self) -> None:
        """See `transport.Connection`."""
        self._hang_up()

    def _start_sending(self, data: bytes) -> None:
        if self._lost:
            self._result = self._result or HungUp(silent=True)
            return
        self._expecting = True
        self._transport.write(data)

    def _settle(self, result: Response | RuntimeApiError) -> None:
        if not self._expecting:
            return
        self._expecting = False
        self._result = result
        _wake(self._wake_receiver)
        if self._paused:
            # Back-pressure ends with the answer: the rest of the request is no longer wanted.
            _wake(self._wake_sender)

    def _hang_up(self) -> None:
        self._lost = True
        self._transport.abort()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self._expecting:
            # An answer to no question. It must not become the answer to the next one.
            self._hang_up()
            return
        try:
            response = self._parser.feed(self._buffer[:nbytes])
        except RuntimeApiError as exc:
            self._settle(exc)
            self._hang_up()
            return
        if response is not None:
            if self._transport.get_write_buffer_size():
                # Refused before all of it was sent; nothing may queue behind the rest.
                self._hang_up()
            self._settle(response)

    def eof_received(self) -> None:
        try:
            response = self._parser.feed_eof()
        except RuntimeApiError:
            self._settle(HungUp(silent=False))
        else:
            self._settle(response or HungUp(silent=True))
        # Left alone, the transport would first try to send the rest of the request.
        self._hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._settle(HungUp(silent=not self._parser.started))
        _wake(self._wake_sender)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        _wake(self._wake_sender)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
