"""
The line between the supervisor and one worker: a few bytes each way over a socket pair.

To the worker goes one byte an order; to the supervisor one text line a message. Either end learns
of the other's death from the end of the stream.
"""

from __future__ import annotations

import enum
import json
import select
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from lmi_runtime._sync import monotonic
from lmi_runtime.model import Failure
from lmi_runtime.supervisor.ledger import SharedLedger

__all__ = ["Garbage", "InitFailed", "Message", "MessageDecoder", "Order", "Ready", "WorkerLink"]

_READY = b"ready"
_FAILED = b"failed "
_MAX_LINE_BYTES = 4 * 1024 * 1024
_SEND_TIMEOUT_S = 1.0


class Order(enum.Enum):
    """What a worker is told."""

    GO = b"G"
    """Start to poll."""
    DRAIN = b"D"
    """Stop polling, finish, exit."""
    ORPHANED = b""
    """The supervisor is gone: exit, nobody will answer for you."""


_ORDERS = {order.value[0]: order for order in (Order.GO, Order.DRAIN)}


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker could serve."""


@dataclass(frozen=True, slots=True)
class InitFailed:
    """The worker could not prepare its handler."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something that is no message of ours; `text` is for the log."""

    text: str


Message = Ready | InitFailed | Garbage


class WorkerLink:
    """
    A worker's end of the line.

    It has a file descriptor to wait on (`fileno`), so an event loop can watch it; nothing here
    blocks but `wait_order`.

    Thread safety: loop thread only.

    Attributes:
        index: Number of the worker's slot, from 0.
        slots: Invocations this worker may serve at once.
        ledger: Where it notes what is in flight.
    """

    def __init__(
        self, sock: socket.socket, *, index: int, slots: int, ledger: SharedLedger
    ) -> None:
        sock.setblocking(False)
        self.index = index
        self.slots = slots
        self.ledger = ledger
        self._sock = sock
        self._orders: deque[Order] = deque()  # loop thread only

    def fileno(self) -> int:
        """Readable when `receive` has something to say."""
        return self._sock.fileno()

    def send_ready(self) -> None:
        """Say that the handler is prepared; polls begin with `Order.GO`."""
        self._send(_READY)

    def send_init_failed(self, failure: Failure) -> None:
        """Say why the handler could not be prepared; exit afterwards."""
        self._send(_FAILED + _encode_failure(failure))

    def receive(self) -> Order | None:
        """The next order, or None when there is none yet. `ORPHANED` repeats for ever."""
        while not self._orders:
            try:
                data = self._sock.recv(64)
            except BlockingIOError:
                return None
            except OSError:
                data = b""
            if not data:
                return Order.ORPHANED
            self._orders.extend(_ORDERS[byte] for byte in data if byte in _ORDERS)
        return self._orders.popleft()

    def wait_order(self, timeout_s: float | None = None) -> Order | None:
        """Block until there is an order, at most `timeout_s` seconds; then None."""
        order = self.receive()
        if order is None and _wait(self._sock, select.POLLIN, timeout_s):
            order = self.receive()
        return order

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def _send(self, line: bytes) -> None:
        # A supervisor that is gone or stuck is found out by `receive`; here it must only not
        # hold the worker up.
        rest = memoryview(line + b"\n")
        give_up_s = monotonic() + _SEND_TIMEOUT_S
        while rest and (left_s := give_up_s - monotonic()) > 0:
            try:
                rest = rest[self._sock.send(rest) :]
            except BlockingIOError:
                _wait(self._sock, select.POLLOUT, left_s)
            except OSError:
                return


class MessageDecoder:
    """Turns a worker's bytes into messages, however they were cut."""

    def __init__(self) -> None:
        self._rest = b""  # supervisor's only thread

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take `data` and yield the messages it completes."""
        *lines, rest = (self._rest + data).split(b"\n")
        # Whatever else the worker's code writes to this descriptor must not fill our memory.
        self._rest = rest[:_MAX_LINE_BYTES]
        for line in lines:
            yield _decode(line)


def _decode(line: bytes) -> Message:
    if line == _READY:
        return Ready()
    if line.startswith(_FAILED):
        try:
            return InitFailed(_decode_failure(line.removeprefix(_FAILED)))
        except (ValueError, TypeError, LookupError, AttributeError):
            # Not ours after all.
            pass
    return Garbage(line[:80].decode("ascii", "backslashreplace"))


def _encode_failure(failure: Failure) -> bytes:
    cause = failure.xray_cause
    facts = asdict(failure) | {"xray_cause": None if cause is None else cause.decode("latin-1")}
    return json.dumps(facts).encode("ascii")


def _decode_failure(text: bytes) -> Failure:
    facts = json.loads(text)
    cause = facts.pop("xray_cause")
    return Failure(
        **facts | {"stack": tuple(facts["stack"])},
        xray_cause=None if cause is None else cause.encode("latin-1"),
    )


def _wait(sock: socket.socket, events: int, timeout_s: float | None) -> bool:
    # poll and not select: descriptors above 1023 are ordinary here.
    poll = select.poll()
    poll.register(sock, events)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
