"""A hand-written HTTP client: it says exactly what a test wants to be said, right or wrong."""

from __future__ import annotations

import http.client
import json
import select
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from tests.support.patience import PATIENCE_S

INVOKE = "/2015-03-31/functions/function/invocations"
NEXT = "/2018-06-01/runtime/invocation/next"


@dataclass(frozen=True)
class Response:
    """A response, header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error_type(self) -> str | None:
        """`Error-Type` of the invoke API, else `errorType` of the Runtime API."""
        return self.headers.get("error-type") or (self.json().get("errorType"))

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One TCP connection to one of the two servers."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Send a whole request, with `Content-Length` if it has a body."""
        fields = {"Host": "emulator", **(headers or {})}
        if body is not None:
            fields.setdefault("Content-Length", str(len(body)))
        lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
        return self.send_raw("\r\n".join(lines).encode("latin-1") + (body or b""))

    def send_raw(self, data: bytes) -> Self:
        self._socket.sendall(data)
        return self

    def send_as_much_as_wanted(self, data: bytes) -> None:
        """Send until the server hangs up."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def half_close(self) -> Self:
        """End our side only: what the server says can still be read."""
        self._socket.shutdown(socket.SHUT_WR)
        return self

    def receive(self, method: str = "POST") -> Response | None:
        """Read one response; None if the server hangs up without a status line."""
        response = http.client.HTTPResponse(self._socket, method=method)
        try:
            response.begin()
            body = response.read()
        except (http.client.RemoteDisconnected, ConnectionResetError):
            return None
        finally:
            response.close()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Response(response.status, headers, body)

    def expect(self) -> Response:
        """Read one response; it is an error if there is none."""
        response = self.receive()
        assert response is not None, "the server hung up without a status line"
        return response

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()


def wait_readable(*connections: Connection) -> list[Connection]:
    """Wait until one of *connections* has something to read, or its end."""
    readable, _, _ = select.select(connections, [], [], PATIENCE_S)
    assert readable, "nothing arrived in time"
    return readable


@dataclass(frozen=True)
class Delivery:
    """An event in the hands of the test, and the caller that waits for its answer."""

    event: Response
    caller: Connection

    @property
    def request_id(self) -> str:
        return self.event.headers["lambda-runtime-aws-request-id"]

    @property
    def invocation_id(self) -> str:
        return self.event.headers["lambda-runtime-invocation-id"]


class Wire:
    """
    The two servers of one environment, and the sockets a test has opened to them.

    Subclasses start and stop the environment.
    """

    runtime: tuple[str, int]
    callers: tuple[str, int]

    def __init__(self) -> None:
        self._opened: list[Connection] = []

    # --- control, different in each kind of environment -------------------------------------

    def let_time_out(self) -> None:
        """Let the function's time-out pass, or start to."""
        raise NotImplementedError

    def begin_shutdown(self) -> None:
        """Let the platform end the environment."""
        raise NotImplementedError

    # --- the runtime's side -----------------------------------------------------------------

    def connect(self) -> Connection:
        """A new connection to the Runtime API."""
        return self._open(self.runtime)

    def request(self, method: str, path: str, body: bytes | None = None, **kw: Any) -> Response:
        """One request to the Runtime API on a connection of its own."""
        return self.connect().send(method, path, body, **kw).expect()

    def poll(self) -> Connection:
        """A waiting GET next, known to the server on return."""
        connection = self.connect().send("GET", NEXT)
        self.settle()
        return connection

    def post(
        self,
        what: str,
        request_id: str,
        body: bytes = b"{}",
        *,
        invocation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        on: Connection | None = None,
    ) -> Response:
        """POST `response` or `error` and read what the server says."""
        return self.send_post(
            what, request_id, body, invocation_id=invocation_id, headers=headers, on=on
        ).expect()

    def send_post(
        self,
        what: str,
        request_id: str,
        body: bytes = b"{}",
        *,
        invocation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        on: Connection | None = None,
    ) -> Connection:
        fields = dict(headers or {})
        if invocation_id is not None:
            fields["Lambda-Runtime-Invocation-Id"] = invocation_id
        path = post_path(what, request_id)
        return (on or self.connect()).send("POST", path, body, headers=fields)

    # --- the caller's side ------------------------------------------------------------------

    def connect_caller(self) -> Connection:
        """A new connection to the invoke API."""
        return self._open(self.callers)

    def call(self, event: bytes = b"{}", **headers: str) -> Connection:
        """Invoke the function; the answer can be read from the connection."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.connect_caller().send("POST", INVOKE, event, headers=named)

    def deliver(self, event: bytes = b"{}", **headers: str) -> Delivery:
        """Poll, call, and return the event the poll got."""
        return self.deliver_to(self.poll(), event, **headers)

    def deliver_to(self, poll: Connection, event: bytes = b"{}", **headers: str) -> Delivery:
        """Call until *poll* gets the event: only the first poll of all can be waited for."""
        while True:
            caller = self.call(event, **headers)
            if poll in wait_readable(poll, caller):
                return Delivery(poll.expect(), caller)
            assert caller.expect().error_type == "Runtime.Unavailable"
            caller.close()

    # --- housekeeping -----------------------------------------------------------------------

    def settle(self) -> None:
        """Give the server every chance to have read what was sent before."""
        ping = self.connect()
        for _ in range(20):
            assert ping.send("GET", "/2018-06-01/ping").expect().status == 200
        ping.close()

    def close_connections(self) -> None:
        for connection in self._opened:
            connection.close()

    def _open(self, address: tuple[str, int]) -> Connection:
        connection = Connection(address)
        self._opened.append(connection)
        return connection


def post_path(what: str, request_id: str) -> str:
    return f"/2018-06-01/runtime/invocation/{quote(request_id, safe='')}/{what}"
