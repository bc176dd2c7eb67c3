"""
A web server on loopback that takes calls to AWS, remembers them and answers as it is told.

    with AwsStub() as stub:
        boto3.client("sqs", endpoint_url=stub.url, ...).list_queues()
        assert stub.calls[0].headers["X-Amzn-Trace-Id"]
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

__all__ = ["AwsStub", "Call"]

_TIMEOUT_S = 10.0

_STARTED = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
_DONE = b"<CompleteMultipartUploadResult/>"


@dataclass(frozen=True, slots=True)
class Call:
    """What came in: ``GET``, the path with its query, the headers, and the body."""

    method: str
    path: str
    headers: Message
    body: bytes


class AwsStub:
    """
    Thread safety: from any thread.

    Attributes:
        calls: What came in, in order.
        status: What it answers with, from now on; bodies are empty JSON, or XML for S3.
        silent: Whether it answers at all.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.status = 200
        self.silent = False
        self._ending = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._server.shutdown()
        self._thread.join(_TIMEOUT_S)
        self._server.server_close()

    def wait(self) -> None:
        """What a silent one does instead of answering."""
        self._ending.wait(_TIMEOUT_S)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Guests may leave when they like."""


def _answer(method: str, path: str) -> bytes:
    if path.endswith("?uploads"):
        return _STARTED
    if "uploadId=" in path or method == "PUT":
        return _DONE if method == "POST" else b""
    return b"{}"


def _handler_of(stub: AwsStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            self.timeout = _TIMEOUT_S
            super().setup()

        def do_GET(self) -> None:
            body = self._body()
            stub.calls.append(Call(self.command, self.path, self.headers, body))
            if stub.silent:
                stub.wait()
                self.close_connection = True
                return
            answer = _answer(self.command, self.path)
            with contextlib.suppress(OSError):
                self.send_response(stub.status)
                self.send_header("Content-Length", str(len(answer)))
                self.send_header("ETag", '"tag"')
                self.end_headers()
                self.wfile.write(answer)

        do_POST = do_PUT = do_GET

        def _body(self) -> bytes:
            if self.headers.get("Expect"):
                self.send_response_only(100)
                self.end_headers()
            if self.headers.get("Transfer-Encoding") == "chunked":
                return b"".join(iter(self._chunk, b""))
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _chunk(self) -> bytes:
            size = int(self.rfile.readline().split(b";")[0], 16)
            if size:
                data = self.rfile.read(size)
                self.rfile.readline()
                return data
            while self.rfile.readline().strip():  # trailers
                pass
            return b""

        def handle_expect_100(self) -> bool:
            return True

        def log_message(self, format: str, *args: object) -> None:
            """Quietly."""

    return Handler
