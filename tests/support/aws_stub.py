"""
A web server on loopback that takes calls to AWS, remembers them and answers as it is told.

    with AwsStub() as stub:
        boto3.client("sqs", endpoint_url=stub.url, ...).list_queues()
        assert stub.calls[0].headers["X-Amzn-Trace-Id"]
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message

from tests.support.loopback import Handler, Loopback
from tests.support.patience import PATIENCE_S

__all__ = ["AwsStub", "Call"]

_STARTED = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
_DONE = b"<CompleteMultipartUploadResult/>"


@dataclass(frozen=True, slots=True)
class Call:
    """What came in: ``GET``, the path with its query, the headers, and the body."""

    method: str
    path: str
    headers: Message
    body: bytes


class AwsStub(Loopback):
    """
    Thread safety: from any thread.

    Attributes:
        calls: What came in, in order.
        status: What it answers with, from now on; bodies are empty JSON, or XML for S3.
        silent: Whether it does not answer at all.
        faltering: Whether its answers stop in the middle.
        before_answering: Called when a call has come in.
    """

    def __init__(self) -> None:
        super().__init__(_handler_of(self))
        self.calls: list[Call] = []
        self.status = 200
        self.silent = False
        self.faltering = False
        self.before_answering: Callable[[], object] = lambda: None
        self._ending = threading.Event()

    def _end(self) -> None:
        self._ending.set()

    def wait(self) -> None:
        """What it does instead of saying more."""
        self._ending.wait(PATIENCE_S)


def _answer(method: str, path: str) -> bytes:
    if path.endswith("?uploads"):
        return _STARTED
    if "uploadId=" in path or method == "PUT":
        return _DONE if method == "POST" else b""
    return b"{}"


def _handler_of(stub: AwsStub) -> type[Handler]:
    class Taking(Handler):
        def do_GET(self) -> None:
            body = self._body()
            stub.calls.append(Call(self.command, self.path, self.headers, body))
            stub.before_answering()
            with contextlib.suppress(OSError):
                if stub.faltering:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{")
                if stub.silent or stub.faltering:
                    stub.wait()
                    self.close_connection = True
                    return
                self.answer(_answer(self.command, self.path), status=stub.status, ETag='"tag"')

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

    return Taking
