"""Connections to nowhere, and who opened, used and closed them."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator
from typing import Any

import anyio.lowlevel

from lmi_runtime import _sync
from lmi_runtime.pools.model import Connector
from tests.support.patience import PATIENCE_S

__all__ = ["Connection", "Server"]


class Connection:
    """One connection; a test sets `broken` and `unusable` as it likes."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.broken = False
        self.unusable = False
        self.closed = False
        self._users = _sync.Lock()

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Fails when somebody else uses it, too."""
        assert self._users.acquire(blocking=False), f"{self} was lent twice"
        try:
            assert not self.closed, f"{self} was lent after its end"
            yield
        finally:
            self._users.release()

    def __repr__(self) -> str:
        return f"<connection {self.number}>"


class Server:
    """
    Opens connections, as threads or as tasks, and remembers what was done.

    Thread safety: from any thread and task.
    """

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.failures: list[BaseException] = []
        """What the next attempts raise, first one first."""
        self.log: list[str] = []
        self.goodbyes: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self.on_open: Callable[[], Any] | None = None
        self.on_reset: Callable[[], Any] | None = None
        self.on_check: Callable[[], Any] | None = None

    def open(self) -> Connection:
        if self.on_open is not None:
            self.on_open()
        if self.failures:
            raise self.failures.pop(0)
        connection = Connection(len(self.connections) + 1)
        self.connections.append(connection)
        return connection

    def close(self, connection: Connection) -> None:
        assert not connection.closed, f"{connection} was closed twice"
        connection.closed = True
        self.log.append(f"close {connection.number}")
        self.goodbyes.put(connection)

    def check(self, connection: Connection) -> None:
        self.log.append(f"check {connection.number}")
        if self.on_check is not None:
            self.on_check()
        if connection.broken:
            raise OSError("the other end is gone")

    def reset(self, connection: Connection) -> None:
        self.log.append(f"reset {connection.number}")
        if self.on_reset is not None:
            self.on_reset()
        if connection.broken:
            raise OSError("the other end is gone")

    def said_goodbye(self) -> Connection:
        """The next connection that was closed; waits for it."""
        return self.goodbyes.get(timeout=PATIENCE_S)

    def for_threads(self, *, check: bool = False, reset: bool = False) -> Connector[Connection]:
        return Connector(
            open=self.open,
            close=self.close,
            check=self.check if check else None,
            reset=self.reset if reset else None,
            usable=lambda connection: not connection.unusable,
            abandon=lambda connection: self.log.append(f"abandon {connection.number}"),
        )

    def for_tasks(self, *, check: bool = False, reset: bool = False) -> Connector[Connection]:
        def async_of(function: Callable[..., Any]) -> Callable[..., Any]:
            async def step(*args: Any) -> Any:
                await anyio.lowlevel.checkpoint()
                result = function(*args)
                if hasattr(result, "__await__"):
                    result = await result
                return result

            return step

        return Connector(
            open=async_of(self.open),
            close=async_of(self.close),
            check=async_of(self.check) if check else None,
            reset=async_of(self.reset) if reset else None,
            usable=lambda connection: not connection.unusable,
            abandon=lambda connection: self.log.append(f"abandon {connection.number}"),
            asynchronous=True,
        )
