"""What web servers of the tests are: on loopback, a thread each guest, and gone after a block."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from types import TracebackType
from typing import Self

from tests.support.patience import PATIENCE_S

__all__ = ["Handler", "Loopback"]


class Handler(BaseHTTPRequestHandler):
    """Keeps its connections, says nothing on standard error, and answers in one line."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout: float = PATIENCE_S

    def answer(self, body: bytes, *, status: int = 200, **headers: str) -> None:
        """Send it all. Keywords are headers: `Content_Type` is sent as ``Content-Type``."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quietly."""


class Loopback:
    """
    Serves within a ``with`` block, and accepts connections from when it is made.

    Thread safety: from any thread.
    """

    def __init__(self, handler: type[Handler]) -> None:
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._server.server_address[1]
        return port

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
        self._end()
        self._server.shutdown()
        self._thread.join(PATIENCE_S)
        self._server.server_close()

    def _end(self) -> None:
        """The block ends: guests are to be kept waiting no longer."""


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Guests may leave when they like."""
