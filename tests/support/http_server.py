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
from urllib.parse import urlsplit

from tests.support.loopback import Handler, Loopback
from tests.support.patience import PATIENCE_S

__all__ = ["HttpServer"]


class HttpServer(Loopback):
    """
    Thread safety: from any thread.

    Attributes:
        connections: Made so far.
    """

    def __init__(self) -> None:
        super().__init__(_handler_of(self))
        self.connections = 0  # guarded by _lock
        self._open: set[socket.socket] = set()  # guarded by _lock
        self._holding = 0  # guarded by _lock
        self._lock = threading.Condition()
        self._gate = threading.Event()

    def _end(self) -> None:
        self.let_go()
        self.hang_up()

    @property
    def connected(self) -> int:
        """Connections that are open now."""
        with self._lock:
            return len(self._open)

    def wait_holding(self, count: int) -> None:
        """Wait until so many requests are being held."""
        with self._lock:
            assert self._lock.wait_for(lambda: self._holding >= count, PATIENCE_S)

    def wait_connected(self, count: int) -> None:
        """Wait until so many connections are open, no more and no less."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self._open) == count, PATIENCE_S), self._open

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
        self._gate.wait(PATIENCE_S)
        with self._lock:
            self._holding -= 1


def _handler_of(server: HttpServer) -> type[Handler]:
    class Answering(Handler):
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
            self.answer(text.encode())

    return Answering
