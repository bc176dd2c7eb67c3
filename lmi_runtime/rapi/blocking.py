"""The Runtime API over plain blocking sockets, for a process that runs no event loop."""

from __future__ import annotations

import logging
import socket

from lmi_runtime._sync import monotonic
from lmi_runtime.errors import RuntimeApiError
from lmi_runtime.model import Failure, PostResult, PostVerdict
from lmi_runtime.rapi.http import Response, ResponseParser
from lmi_runtime.rapi.protocol import Requests, read_extension_id, read_post, without_details
from lmi_runtime.rapi.transport import CONNECT_TIMEOUT_S, ConnectFailed, HungUp, split_address

__all__ = ["BlockingRuntimeApi"]

_log = logging.getLogger("lmi_runtime.rapi")

_READ_BYTES = 64 * 1024

# The first init error is accepted; every later one, from whichever process, is refused as known.
_INIT_ERROR_TAKEN = frozenset({202, 403})


class BlockingRuntimeApi:
    """
    What a supervisor says to the Runtime API at `address`, one connection a call.

    Nothing here polls for events. No call takes longer than connecting (1 s) and `timeout_s`.

    Thread safety: one thread at a time.

    Args:
        address: ``host:port``, the value of ``AWS_LAMBDA_RUNTIME_API``.
        timeout_s: Seconds for sending a request and receiving its whole response.

    Raises:
        ConfigurationError: `address` is not ``host:port``.
    """

    def __init__(self, address: str, *, timeout_s: float = 5.0) -> None:
        self._address = split_address(address)
        self._timeout_s = timeout_s
        self._requests = Requests(address)
        self._init_error_posted = False  # the calling thread only

    def post_init_error(self, failure: Failure) -> None:
        """
        Say that this environment cannot start; the process should exit next.

        Only the first call says anything. Never raises: there is nothing else to be done.
        """
        if self._init_error_posted:
            return
        self._init_error_posted = True
        try:
            response = self._exchange(self._requests.init_error(failure))
        except RuntimeApiError as exc:
            _log.error("The init error could not be posted: %s", exc)
        else:
            if response.status not in _INIT_ERROR_TAKEN:
                _log.error("The Runtime API did not take the init error: %s", response.status)

    def fail(self, request_id: str, invocation_id: str | None, failure: Failure) -> PostResult:
        """
        Post an error for an invocation, as `model.RuntimeApi.fail` does. Never raises.

        Any process may answer any invocation, so a supervisor can for a dead worker.
        """
        result = self._post(self._requests.error(request_id, invocation_id, failure))
        if result.verdict is PostVerdict.TOO_LARGE:
            short = without_details(failure)
            result = self._post(self._requests.error(request_id, invocation_id, short))
        if result.verdict is not PostVerdict.ACCEPTED:
            _log.warning(
                "The Runtime API did not take the error to request %s (%s): %s",
                request_id,
                result.verdict.value,
                result.detail,
            )
        return result

    def register_extension(self, name: str) -> str | None:
        """
        Register an internal extension, so that this environment gets a SIGTERM; return its id.

        Returns None when the platform does not want it, which is no reason not to start. With
        an id, `open_event_poll` must follow, or the environment never becomes ready.
        """
        try:
            response = self._exchange(self._requests.register_extension(name))
        except RuntimeApiError as exc:
            _log.warning("No extension was registered, so no SIGTERM will come: %s", exc)
            return None
        extension_id = read_extension_id(response)
        if extension_id is None:
            _log.warning(
                "No extension was registered, so no SIGTERM will come: status %s", response.status
            )
        return extension_id

    def open_event_poll(self, extension_id: str) -> socket.socket:
        """
        Start the extension's poll, which never ends while the environment lives.

        Returns a non-blocking socket to keep open, and to close with the process. It becomes
        readable only when the platform hangs up.

        Raises:
            RuntimeApiError: The poll could not be sent.
        """
        connection = self._connect()
        try:
            connection.settimeout(self._timeout_s)
            connection.sendall(self._requests.extension_poll(extension_id))
            connection.setblocking(False)
        except OSError as exc:
            connection.close()
            raise HungUp(silent=True) from exc
        return connection

    def _post(self, request: bytes) -> PostResult:
        try:
            return read_post(self._exchange(request))
        except RuntimeApiError as exc:
            return PostResult(PostVerdict.LOST, str(exc))

    def _exchange(self, request: bytes) -> Response:
        with self._connect() as connection:
            deadline_s = monotonic() + self._timeout_s
            try:
                _set_time_left(connection, deadline_s)
                connection.sendall(request)
            except TimeoutError as exc:
                raise HungUp(silent=True) from exc
            except OSError:
                pass  # an answer may have come before the connection broke
            return _receive(connection, deadline_s)

    def _connect(self) -> socket.socket:
        try:
            connection = socket.create_connection(self._address, timeout=CONNECT_TIMEOUT_S)
        except OSError as exc:
            raise ConnectFailed(f"Cannot connect to the Runtime API: {exc!r}") from exc
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def _receive(connection: socket.socket, deadline_s: float) -> Response:
    parser = ResponseParser()
    while True:
        try:
            _set_time_left(connection, deadline_s)
            data = connection.recv(_READ_BYTES)
        except OSError as exc:
            raise HungUp(silent=not parser.started) from exc
        response = parser.feed(data) if data else parser.feed_eof()
        if response is not None:
            return response
        if not data:
            raise HungUp(silent=True)


def _set_time_left(connection: socket.socket, deadline_s: float) -> None:
    left_s = deadline_s - monotonic()
    if left_s <= 0:  # zero would make the socket non-blocking
        raise TimeoutError
    connection.settimeout(left_s)
