"""
A small HTTP/1.1 server on one `asyncio.Protocol`: keep-alive, pipelining, trailers, lingering.

It is on the path of every measured request, so there is no coroutine and no task per request: an
`Endpoint` is told what arrived and replies through the `Exchange` whenever it likes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import httptools

from lmi_runtime.emulator.answers import Reply
from lmi_runtime.emulator.encoding import encode_chunks
from lmi_runtime.emulator.faults import Fault

# Go's server, and so AWS's emulator, reads this much of an unwanted body before it hangs up.
DRAIN_LIMIT_BYTES = 256 * 1024
_LINGER_S = 0.5
_CHUNKED_ABOVE_BYTES = 2048

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_JSON = b"Content-Type: application/json\r\n"


class Endpoint:
    """
    What one path does. Endpoints keep nothing: facts of a request live in `Exchange.context`.

    Attributes:
        limit_bytes: Largest body; past it `oversized` is called instead of `complete`.
    """

    limit_bytes: int | None = None

    def begin(self, exchange: Exchange) -> None:
        """The head has arrived."""

    def complete(self, exchange: Exchange) -> None:
        """The whole request has arrived."""
        raise NotImplementedError

    def oversized(self, exchange: Exchange) -> None:
        """The body passed `limit_bytes`; the rest of it is read and forgotten."""

    def truncated(self, exchange: Exchange) -> None:
        """The peer stopped sending before the end of the body."""

    def abandoned(self, exchange: Exchange) -> None:
        """The peer hung up before it had its reply."""


class Exchange:
    """
    One request and the way to answer it.

    Thread safety: loop thread only.
    """

    __slots__ = (
        "body_bytes",
        "chunks",
        "complete",
        "connection",
        "context",
        "endpoint",
        "fault",
        "headers",
        "keep_alive",
        "method",
        "over_limit",
        "path",
        "query",
        "refusal",
        "replied",
        "started",
        "target",
        "trailers",
    )

    def __init__(self, connection: HttpConnection) -> None:
        self.connection = connection
        self.target = b""
        self.method = b""
        self.path = b""
        self.query = b""
        self.headers: dict[bytes, bytes] = {}
        self.trailers: dict[bytes, bytes] = {}
        self.chunks: list[bytes] = []
        self.body_bytes = 0
        self.complete = False
        self.started = False
        self.replied = False
        self.over_limit = False
        self.keep_alive = True
        self.refusal: Reply | None = None
        self.endpoint: Endpoint = _NOWHERE
        self.context: Any = None
        self.fault: Fault | None = None

    def header(self, name: bytes) -> str:
        """Value of the header *name* (given in lower case), empty if absent."""
        value = self.headers.get(name)
        return value.decode("utf-8", "replace") if value else ""

    def body(self) -> bytes:
        """Everything received of the body."""
        return self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)

    @property
    def declared_bytes(self) -> int | None:
        """`Content-Length`, None for a chunked body."""
        length = self.headers.get(b"content-length")
        return int(length) if length else None

    def reply(self, reply: Reply, *, close: bool = False) -> None:
        """Send a short JSON answer."""
        self.send(reply.status, _JSON, reply.body, close=close)

    def refuse(self, reply: Reply) -> None:
        """
        Answer *reply* although the body is not wanted.

        A short rest is read first, so that the connection can be used again; with a long one the
        answer goes out at once and the connection is closed.
        """
        self.refusal = reply
        declared = self.declared_bytes
        if self.complete:
            self.reply(reply)
        elif declared is not None and declared - self.body_bytes > DRAIN_LIMIT_BYTES:
            self.reply(reply, close=True)
        self.chunks.clear()
        self.body_bytes = 0

    def send(
        self,
        status: int,
        header_lines: bytes,
        body: bytes = b"",
        *,
        close: bool = False,
        chunked: bool | None = None,
    ) -> None:
        """
        Write the answer and go on to the next request of the connection.

        Args:
            status: HTTP status.
            header_lines: Encoded headers, each ending in CRLF.
            body: Encoded body.
            close: Close the connection afterwards.
            chunked: Framing; None means chunked above 2048 bytes.
        """
        if self.replied:
            return
        self.replied = True
        close = close or not self.keep_alive
        if close:
            header_lines += b"Connection: close\r\n"
        if chunked is None:
            chunked = len(body) > _CHUNKED_ABOVE_BYTES
        if chunked:
            head = b"%bTransfer-Encoding: chunked\r\n\r\n" % header_lines
            self.connection.write(_STATUS_LINES[status] + head + encode_chunks(body))
        elif status == HTTPStatus.NO_CONTENT:
            self.connection.write(b"%b%b\r\n" % (_STATUS_LINES[status], header_lines))
        else:
            line = _STATUS_LINES[status]
            self.connection.write(
                b"%b%bContent-Length: %d\r\n\r\n%b" % (line, header_lines, len(body), body)
            )
        self.connection.replied(self, close=close)

    def hang_up(self) -> None:
        """Close the connection without a status line."""
        self.replied = True
        self.connection.hang_up()

    def reset(self) -> None:
        """Reset the connection: the peer gets ECONNRESET."""
        self.replied = True
        self.connection.reset()


class _Nowhere(Endpoint):
    """Stands in until the path is known."""

    def complete(self, exchange: Exchange) -> None:
        exchange.hang_up()


_NOWHERE = _Nowhere()


class HttpConnection(asyncio.Protocol):
    """
    One accepted connection. Requests are served in order, one at a time.

    Thread safety: loop thread only.
    """

    def __init__(
        self, route: Callable[[Exchange], Endpoint], connections: set[HttpConnection]
    ) -> None:
        self._route = route
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._incoming: Exchange | None = None
        self._active: Exchange | None = None
        self._backlog: deque[Exchange] = deque()
        self._deaf = False

    # --- asyncio --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods but not the base class, so nothing is asserted.
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._deaf = True
            self.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n400 Bad Request")
            self.linger()

    def eof_received(self) -> bool:
        self._peer_left()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer_left()
        self._connections.discard(self)
        self._transport = None

    def _peer_left(self) -> None:
        exchange = self._active
        self._backlog.clear()
        if self._deaf or exchange is None or exchange.replied:
            return
        self._deaf = True
        if exchange.complete:
            exchange.endpoint.abandoned(exchange)
        elif exchange.refusal is not None:
            exchange.reply(exchange.refusal, close=True)
        else:
            exchange.endpoint.truncated(exchange)

    # --- httptools ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._incoming = Exchange(self)

    def on_url(self, url: bytes) -> None:
        exchange = self._incoming
        assert exchange is not None
        exchange.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._incoming
        assert exchange is not None
        # Headers after the head are trailers: llhttp reports both with the same call.
        fields = exchange.trailers if exchange.method else exchange.headers
        fields[name.lower()] = value

    def on_headers_complete(self) -> None:
        exchange = self._incoming
        assert exchange is not None
        exchange.method = self._parser.get_method()
        exchange.path, _, exchange.query = exchange.target.partition(b"?")
        if self._active is None:
            self._start(exchange)
        else:
            self._backlog.append(exchange)

    def on_body(self, body: bytes) -> None:
        exchange = self._incoming
        assert exchange is not None
        exchange.chunks.append(body)
        exchange.body_bytes += len(body)
        if exchange.started and not exchange.replied:
            self._check_size(exchange)

    def on_message_complete(self) -> None:
        exchange = self._incoming
        assert exchange is not None
        exchange.complete = True
        exchange.keep_alive = self._parser.should_keep_alive()
        if exchange.started:
            self._finish(exchange)

    # --- order ----------------------------------------------------------------------------

    def _start(self, exchange: Exchange) -> None:
        self._active = exchange
        exchange.started = True
        exchange.endpoint = self._route(exchange)
        exchange.endpoint.begin(exchange)
        if exchange.headers.get(b"expect", b"").lower() == b"100-continue" and not exchange.replied:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _check_size(self, exchange: Exchange) -> None:
        if exchange.refusal is not None:
            if exchange.body_bytes > DRAIN_LIMIT_BYTES:
                exchange.reply(exchange.refusal, close=True)
            exchange.chunks.clear()
        elif (
            exchange.endpoint.limit_bytes is not None
            and exchange.body_bytes > exchange.endpoint.limit_bytes
            and not exchange.over_limit
        ):
            exchange.over_limit = True
            exchange.endpoint.oversized(exchange)

    def _finish(self, exchange: Exchange) -> None:
        if exchange.replied:
            self._advance(exchange)
        elif exchange.refusal is not None:
            exchange.reply(exchange.refusal)
        else:
            exchange.endpoint.complete(exchange)

    def replied(self, exchange: Exchange, *, close: bool) -> None:
        """*exchange* has its answer."""
        if close:
            self._deaf = True
            self.linger()
        elif exchange.complete:
            self._advance(exchange)

    def _advance(self, exchange: Exchange) -> None:
        if exchange is not self._active:
            return
        self._active = None
        if self._backlog and not self._deaf:
            following = self._backlog.popleft()
            self._start(following)
            if following.chunks and not following.replied:
                self._check_size(following)
            if following.complete and self._active is following:
                self._finish(following)

    # --- the wire -------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send *data*; a peer that has left does not matter."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    @property
    def is_deaf(self) -> bool:
        """Nothing more is read."""
        return self._deaf

    @property
    def is_closed(self) -> bool:
        """Nothing can be sent any more."""
        return self._transport is None or self._transport.is_closing()

    def hang_up(self) -> None:
        """Close after what was written has been sent."""
        self._deaf = True
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Close at once, with a reset if data is unread."""
        self._deaf = True
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def linger(self) -> None:
        """
        Send FIN now and close a little later.

        Closing at once while the peer still uploads would turn into a reset that can destroy the
        answer before the peer has read it.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.can_write_eof():
            # asyncio's own loop tells of a peer that has reset the connection, uvloop does not.
            with contextlib.suppress(OSError):
                transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER_S, transport.close)
