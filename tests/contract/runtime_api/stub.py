"""
A Runtime API that says exactly what a test scripted, byte for byte.

Plain sockets and threads, and a request parser of its own: it depends on no event loop and
shares no code with what it tests.
"""

from __future__ import annotations

import enum
import json
import queue
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO

from tests.support.patience import PATIENCE_S

__all__ = ["Act", "End", "Request", "StubServer", "answer", "error", "event"]

ACCEPTED = b'{"status":"OK"}\n'


class End(enum.Enum):
    """What the server does after it has sent what an `Act` says."""

    KEEP = "keep"
    CLOSE = "close"
    RESET = "reset"
    HOLD = "hold until the client closes"
    HALF_CLOSE = "send no more, but read on"


@dataclass(frozen=True)
class Act:
    """
    The server's part in one exchange.

    Attributes:
        data: Sent as it is.
        end: What follows.
        read_body: False answers as soon as the request's head is in.
        before: Nothing is read or said beyond the request's head until this is set.
        after: Nothing more is read until this is set.
    """

    data: bytes = b""
    end: End = End.KEEP
    read_body: bool = True
    before: threading.Event | None = None
    after: threading.Event | None = None


@dataclass
class Request:
    """One request as it arrived; `body` is decoded, `whole` says whether its end was seen."""

    connection: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    whole: bool = True


def answer(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """Build a response with a content length."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def error(status: int, error_type: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Build a refusal as the Runtime API words it."""
    body = json.dumps({"errorMessage": "no", "errorType": error_type}).encode() + b"\n"
    return answer(status, body, headers)


def event(body: bytes = b"{}", request_id: str = "r-1", **headers: str) -> bytes:
    """Build an event; keyword arguments are headers after ``Lambda-Runtime-``."""
    named = {f"Lambda-Runtime-{name.replace('_', '-')}": value for name, value in headers.items()}
    return answer(200, body, {"Lambda-Runtime-Aws-Request-Id": request_id, **named})


class StubServer:
    """
    Plays `acts` in order, one a request, over however many connections the client makes.

    A request without an act left is hung up on. Use it as a context manager.

    Attributes:
        address: ``host:port``.
        requests: Every request, in order of arrival; read it when they have been answered.
        arrived: Gets every request as soon as its head is in.
        closed: Gets the number of each connection whose end the server has seen.
    """

    def __init__(self, acts: Iterable[Act | bytes] = ()) -> None:
        self.requests: list[Request] = []
        self.closed: queue.Queue[int] = queue.Queue()
        self.arrived: queue.Queue[Request] = queue.Queue()
        self._acts = deque(act if isinstance(act, Act) else Act(act) for act in acts)
        self._lock = threading.Lock()  # guards requests, _acts, _sockets and _threads
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    @property
    def connections(self) -> int:
        """How many connections there have been."""
        with self._lock:
            return len(self._sockets)

    def send(self, connection: int, data: bytes) -> None:
        """Say something on a connection out of turn."""
        self._sockets[connection].sendall(data)

    def hang_up(self) -> None:
        """End every connection now, waiting polls included."""
        with self._lock:
            for open_socket in self._sockets:
                with suppress(OSError):
                    open_socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> StubServer:
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # shutdown() and not only close(), which does not wake a thread that is in accept().
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(PATIENCE_S)
        self.hang_up()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for open_socket in self._sockets:
            open_socket.close()
        assert not any(thread.is_alive() for thread in [self._acceptor, *self._threads])

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                number = len(self._sockets)
                self._sockets.append(accepted)
                thread = threading.Thread(target=self._serve, args=(accepted, number), daemon=True)
                self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection, connection.makefile("rb") as stream, suppress(OSError):
            while self._serve_one(connection, stream, number):
                pass
        self.closed.put(number)

    def _serve_one(self, connection: socket.socket, stream: BinaryIO, number: int) -> bool:
        request = _read_head(stream, number)
        if request is None:
            return False
        with self._lock:
            self.requests.append(request)
            act = self._acts.popleft() if self._acts else Act(end=End.CLOSE)
        self.arrived.put(request)
        if act.before is not None:
            act.before.wait(PATIENCE_S)
        if act.read_body:
            _read_body(stream, request)
        connection.sendall(act.data)
        if act.end is End.HALF_CLOSE:
            connection.shutdown(socket.SHUT_WR)
        if act.end is End.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if act.end in (End.CLOSE, End.RESET):
            return False
        if act.after is not None:
            act.after.wait(PATIENCE_S)
        if not act.read_body:
            _read_body(stream, request)
        if act.end is not End.KEEP:
            while stream.read(65536):
                pass
        return act.end is End.KEEP


def _read_head(stream: BinaryIO, connection: int) -> Request | None:
    first = stream.readline()
    if not first.endswith(b"\n"):
        return None
    method, path, _ = first.decode("latin-1").split(" ")
    return Request(connection, method, path, _read_fields(stream))


def _read_fields(stream: BinaryIO) -> dict[str, str]:
    fields: dict[str, str] = {}
    while (line := stream.readline()).strip():
        name, value = line.decode("latin-1").split(":", 1)
        assert name.lower() not in fields, name
        fields[name.lower()] = value.strip()
    return fields


def _read_body(stream: BinaryIO, request: Request) -> None:
    if "content-length" in request.headers:
        length = int(request.headers["content-length"])
        request.body = stream.read(length)
        request.whole = len(request.body) == length
    elif request.headers.get("transfer-encoding") == "chunked":
        chunks = []
        line = stream.readline()
        while line and (length := int(line, 16)):
            chunks.append(stream.read(length))
            stream.readline()
            line = stream.readline()
        request.body = b"".join(chunks)
        request.whole = bool(line)
        request.trailers = _read_fields(stream)
