"""The unix socket that hands every worker a log stream of its own."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from lmi_runtime.emulator.lines import LineLog


class TelemetrySocket:
    """
    The far end of `_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET`: newline-delimited text.

    Each connection becomes a source `telemetry-1`, `telemetry-2` … of the log.

    Thread safety: loop thread only.
    """

    def __init__(self, log: LineLog) -> None:
        self._log = log
        self._connections = 0
        self._folder: Path | None = None
        self._server: asyncio.AbstractServer | None = None
        self._followers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        # mkdtemp makes it 0700: no other user can connect. /tmp, because the path of a unix
        # socket must stay below 104 bytes on macOS.
        self._folder = Path(tempfile.mkdtemp(prefix="lmi-", dir="/tmp"))
        self._server = await asyncio.start_unix_server(self._accept, self.path)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        followers = list(self._followers)
        for task in followers:
            task.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def path(self) -> str:
        """Value for the environment variable."""
        if self._folder is None:
            raise RuntimeError("the telemetry socket is not open")
        return str(self._folder / "logs.sock")

    @property
    def connections(self) -> int:
        """Connections accepted so far."""
        return self._connections

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        source = f"telemetry-{self._connections}"
        task = asyncio.get_running_loop().create_task(self._follow(reader, writer, source))
        self._followers.add(task)
        task.add_done_callback(self._followers.discard)

    async def _follow(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: str
    ) -> None:
        try:
            await self._log.follow(reader, source)
        finally:
            writer.close()
