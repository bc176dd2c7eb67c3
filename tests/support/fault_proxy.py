"""A TCP proxy on loopback that can be told to misbehave as networks do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from tests.support.patience import PATIENCE_S

__all__ = ["FaultProxy"]

T = TypeVar("T")

RST_ON_CLOSE = struct.pack("ii", 1, 0)


class FaultProxy:
    """
    Passes bytes between clients and one server, until told otherwise.

    What it is told holds for the connections there are and for those to come, until it is told
    something else; it has happened when the method returns.

    Args:
        port: Where the server listens on loopback.

    Thread safety: from any thread but the loop's own.
    """

    def __init__(self, port: int) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self._upstream = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy")
        self._server: asyncio.Server | None = None
        # Loop thread only, from here on.
        self._open = asyncio.Event()
        self._delay_s = 0.0
        self._dropping = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._do(self._open.set)
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, self.host, 0), self._loop
        ).result(PATIENCE_S)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    @property
    def connections(self) -> int:
        """Clients that are connected now."""
        return self._do(lambda: len(self._writers)) // 2

    def pass_on(self) -> None:
        """Behave. What was stalled goes on; what was dropped is gone."""
        self._do(lambda: self._set(stalled=False))

    def stall(self) -> None:
        """Hold all bytes back, both ways; they go on with `pass_on`. New clients are accepted."""
        self._do(lambda: self._set(stalled=True))

    def delay(self, seconds: float) -> None:
        """Let every chunk of bytes wait for this long."""
        self._do(lambda: self._set(stalled=False, delay_s=seconds))

    def drop(self) -> None:
        """
        Swallow all bytes, and goodbyes too: half-open connections.

        Neither side is told anything, as when a firewall has forgotten the connection.
        """
        self._do(lambda: self._set(stalled=False, dropping=True))

    def reset(self) -> None:
        """Break the connections there are with a TCP reset. New ones are served as before."""
        self._do(self._reset)

    def _set(self, *, stalled: bool, delay_s: float = 0.0, dropping: bool = False) -> None:
        self._delay_s = delay_s
        self._dropping = dropping
        (self._open.clear if stalled else self._open.set)()

    def _reset(self) -> None:
        for writer in list(self._writers):
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._join(reader, writer)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(self.host, self._upstream)
        both = {writer, up_writer}
        self._writers |= both
        try:
            await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer))
        finally:
            self._writers -= both
            for each in both:
                each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = False
        while not ended:
            data = await reader.read(65_536)
            ended = not data
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._open.wait()
            if self._dropping:
                continue
            with contextlib.suppress(OSError):  # the other side has gone; its pump will notice
                writer.write(data)
                await writer.drain()
                if ended:
                    writer.write_eof()

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close their sockets on the next turn

    def _do(self, action: Callable[[], T]) -> T:
        async def act() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(PATIENCE_S)
