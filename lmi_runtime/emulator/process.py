"""`LocalEnvironment`: an emulator and the runtime process it starts, watches and stops."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from lmi_runtime.emulator.lines import LineLog, LogLine
from lmi_runtime.emulator.options import EmulatorOptions
from lmi_runtime.emulator.server import Emulator
from lmi_runtime.emulator.telemetry import TelemetrySocket
from lmi_runtime.emulator.variables import runtime_variables

_KILL_WAIT_S = 10.0
_PIPE_WAIT_S = 5.0
_FIRST_RESTART_DELAY_S = 0.1
_LONGEST_RESTART_DELAY_S = 5.0


class _LogPipe:
    """
    One output stream of the runtime.

    Not `asyncio.subprocess.PIPE`: with it, on some Python versions, a process counts as running
    until everybody who has inherited the pipe is gone too.
    """

    def __init__(self, source: str, reader: asyncio.StreamReader, write_end: int) -> None:
        self.source = source
        self.reader = reader
        self.write_end = write_end
        self._transport: asyncio.ReadTransport | None = None

    @classmethod
    async def open(cls, source: str) -> Self:
        read_end, write_end = os.pipe()
        pipe = cls(source, asyncio.StreamReader(), write_end)
        protocol = asyncio.StreamReaderProtocol(pipe.reader)
        file = os.fdopen(read_end, "rb", buffering=0)
        loop = asyncio.get_running_loop()
        pipe._transport, _ = await loop.connect_read_pipe(lambda: protocol, file)
        return pipe

    def close_write_end(self) -> None:
        """Only the runtime may write: its death has to be the end of the stream."""
        os.close(self.write_end)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class LocalEnvironment:
    """
    One execution environment with a real runtime process in it.

        command = [sys.executable, "-m", "awslambdaric", "app.handler"]
        async with LocalEnvironment(command, cwd="function") as environment:
            await environment.emulator.wait_ready()
            answer = await environment.emulator.invoke(b"{}")

    Attributes:
        emulator: The environment's two APIs.
        log: What the runtime has written.
        telemetry: The socket that hands out log streams, if asked for.

    Thread safety: loop thread only.
    """

    def __init__(
        self,
        command: Sequence[str],
        options: EmulatorOptions | None = None,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        restart: bool = False,
        telemetry: bool = False,
        rie_line_limit: bool = False,
        on_line: Callable[[LogLine], None] | None = None,
        emulator: Emulator | None = None,
    ) -> None:
        """
        Args:
            command: Program and arguments of the runtime.
            options: Facts of the environment; not together with *emulator*.
            env: The function's own variables, on top of this process's and the platform's.
            cwd: Folder of the function's code and of the process; the current one by default.
            restart: Start the runtime again when it exits, as the service replaces an
                environment. AWS's emulator does not.
            telemetry: Offer a log stream to every worker.
            rie_line_limit: Stop reading at a line of 64 KiB, as AWS's emulator does.
            on_line: Called with every log line, on the loop.
            emulator: An emulator that has not been entered, to choose its ports or its clock.
        """
        self.emulator = emulator or Emulator(options)
        self.log = LineLog(on_line=on_line, rie_line_limit=rie_line_limit)
        self.telemetry = TelemetrySocket(self.log) if telemetry else None
        self._command = tuple(command)
        self._env = dict(env or {})
        self._cwd = os.fspath(cwd) if cwd is not None else os.getcwd()
        self._restart = restart
        self._process: asyncio.subprocess.Process | None = None
        self._streams: list[_LogPipe] = []
        self._watcher: asyncio.Task[None] | None = None
        self._stack = AsyncExitStack()
        self._stopping = False

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.emulator)
            if self.telemetry is not None:
                await stack.enter_async_context(self.telemetry)
            process = await self._spawn()
            self._stack = stack.pop_all()
        self._watcher = asyncio.get_running_loop().create_task(self._watch(process))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        """Process id of the runtime, which is also its process group."""
        if self._process is None:
            raise RuntimeError("the environment has not been entered")
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status of the runtime; None while it runs, negative for a signal."""
        return None if self._process is None else self._process.returncode

    async def wait_exited(self) -> int:
        """Wait for the runtime to exit; with `restart`, only for the present one."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """
        Shut down in AWS's order: abort what runs, then SIGKILL; if an extension has registered,
        SIGTERM and a time of grace before it. Idempotent.
        """
        if self._stopping:
            return
        self._stopping = True
        self.emulator.begin_shutdown()
        try:
            if self.emulator.extensions_registered and self.returncode is None:
                self._signal_group(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.emulator.options.shutdown_grace_s):
                        await self.wait_exited()
        finally:
            self._signal_group(signal.SIGKILL)
            if self._watcher is not None:
                await self._wait_for_watcher(self._watcher)
            await self._stack.aclose()

    async def _wait_for_watcher(self, watcher: asyncio.Task[None]) -> None:
        done, _ = await asyncio.wait({watcher}, timeout=_KILL_WAIT_S)
        if not done:
            watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)

    # --- the process ----------------------------------------------------------------------

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._streams = [await _LogPipe.open(source) for source in ("stdout", "stderr")]
        try:
            return await self._spawn_into(*self._streams)
        except BaseException:
            for stream in self._streams:
                stream.close()
            raise
        finally:
            for stream in self._streams:
                stream.close_write_end()

    async def _spawn_into(self, stdout: _LogPipe, stderr: _LogPipe) -> asyncio.subprocess.Process:
        variables = runtime_variables(
            self.emulator.options,
            runtime_api=self.emulator.runtime_api,
            task_root=self._cwd,
            inherited=os.environ,
            extra=self._env,
            telemetry_socket=None if self.telemetry is None else self.telemetry.path,
        )
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout.write_end,
            stderr=stderr.write_end,
            env=variables,
            cwd=self._cwd,
            # A group of its own, so that a signal for the runtime reaches its workers and not us.
            start_new_session=True,
        )
        return self._process

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        delay_s = _FIRST_RESTART_DELAY_S
        while True:
            was_ready = await self._watch_one(process)
            if not self._restart or self._stopping:
                return
            delay_s = _FIRST_RESTART_DELAY_S if was_ready else delay_s
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _LONGEST_RESTART_DELAY_S)
            self.emulator.restart_init()
            process = await self._spawn()

    async def _watch_one(self, process: asyncio.subprocess.Process) -> bool:
        """Follow one runtime to its end; tell whether it ever became ready."""
        loop = asyncio.get_running_loop()
        streams = self._streams
        followers = [loop.create_task(self.log.follow(s.reader, s.source)) for s in streams]
        gone = loop.create_task(process.wait())
        closed = loop.create_task(self.emulator.wait_until(lambda now: now.phase == "CLOSED"))
        try:
            await asyncio.wait({gone, closed}, return_when=asyncio.FIRST_COMPLETED)
            was_ready = self.emulator.statistics().phase == "READY"
            self._signal_group(signal.SIGKILL)
            await gone
            if not self._stopping:
                self.emulator.runtime_exited()
            # Whoever has inherited the pipes is dead too, so their end is near, unless somebody
            # has left the group, or reading has stopped.
            await asyncio.wait(followers, timeout=_PIPE_WAIT_S if self.log.reading else 0)
            return was_ready
        finally:
            for task in (*followers, closed):
                task.cancel()
            await asyncio.gather(*followers, closed, return_exceptions=True)
            for stream in streams:
                stream.close()

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
