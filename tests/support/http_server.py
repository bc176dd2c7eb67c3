"""
A web server on loopback that counts its connections and answers when it is told to.

    with HttpServer() as server:
        httpx.get(f"{server.url}/echo/text")

``/echo/<text>`` answers with the text; ``/hold`` answers with ``held`` after `let_go`; ``/bye``
answers and hangs up.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

__all__ = ["HttpServer"]

_HOLD_TIMEOUT_S = 10.0


class HttpServer:
    """
    Thread safety: from any thread.

    Attributes:
        connections: Made so far.
    """

    def __init__(self) -> None:
        self.connections = 0  # guarded by _lock
        self._open: set[socket.socket] = set()  # guarded by _lock
        self._holding = 0  # guarded by _lock
        self._lock = threading.Condition()
        self._gate = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._gate.set()
        self.hang_up()
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    @property
    def connected(self) -> int:
        """Connections that are open now."""
        with self._lock:
            return len(self._open)

    def wait_holding(self, count: int) -> None:
        """Wait until so many requests are being held."""
        with self._lock:
            assert self._lock.wait_for(lambda: self._holding >= count, 10)

    def wait_connected(self, count: int) -> None:
        """Wait until so many connections are open, no more and no less."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self._open) == count, 10), self._open

    def let_go(self) -> None:
        """Answer whatever is being held, and hold nothing any more."""
        self._gate.set()

    def hang_up(self) -> None:
        """Cut every connection."""
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):  # the guest has gone already
                    each.shutdown(socket.SHUT_RDWR)

    def _come(self, guest: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            self._open.add(guest)
            self._lock.notify_all()

    def _gone(self, guest: socket.socket) -> None:
        with self._lock:
            self._open.discard(guest)
            self._lock.notify_all()

    def _hold(self) -> None:
        with self._lock:
            self._holding += 1
            self._lock.notify_all()
        self._gate.wait(_HOLD_TIMEOUT_S)
        with self._lock:
            self._holding -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Guests may leave when they like."""


def _handler_of(server: HttpServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            server._come(self.request)
            super().setup()

        def finish(self) -> None:
            server._gone(self.request)
            super().finish()

        def do_GET(self) -> None:
            # Asked as a proxy, the path is a whole URL; what it asks for is here all the same.
            _, _, rest = urlsplit(self.path).path.partition("/")
            what, _, text = rest.partition("/")
            if what == "hold":
                server._hold()
                text = "held"
            if what == "bye":
                self.close_connection = True
            self._answer(text.encode())

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quietly."""

    return Handler
