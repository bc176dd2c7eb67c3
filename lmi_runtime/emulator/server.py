"""`Emulator`: the environment behind two loopback ports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from lmi_runtime.emulator.answers import Answer
from lmi_runtime.emulator.audit import Violation
from lmi_runtime.emulator.facts import Clock, EmulatorStatistics
from lmi_runtime.emulator.faults import FaultScript
from lmi_runtime.emulator.host import Host
from lmi_runtime.emulator.http import Endpoint, Exchange, HttpConnection
from lmi_runtime.emulator.invoke_api import build_request, invoke_router
from lmi_runtime.emulator.options import EmulatorOptions
from lmi_runtime.emulator.runtime_api import runtime_router

_LOOPBACK = "127.0.0.1"
_BACKLOG = 4096


class Emulator:
    """
    A local execution environment: Runtime API for the function, invoke API for its callers.

        async with Emulator(EmulatorOptions(max_concurrency=4)) as emulator:
            ...  # start a runtime with AWS_LAMBDA_RUNTIME_API=emulator.runtime_api
            answer = await emulator.invoke(b'{"n": 1}')

    Attributes:
        options: What it was made with.

    Thread safety: loop thread only, the loop that entered it.
    """

    def __init__(
        self,
        options: EmulatorOptions | None = None,
        *,
        clock: Clock | None = None,
        new_id: Callable[[], str] | None = None,
        invoke_port: int = 0,
        runtime_port: int = 0,
    ) -> None:
        """
        Args:
            options: The environment; defaults are those of a function with eight slots.
            clock: Injected clock; advance it and call `expire` to time out without sleeping.
            new_id: Maker of invocation ids; UUIDs by default.
            invoke_port: Port of the invoke API on 127.0.0.1; 0 lets the system choose.
            runtime_port: Port of the Runtime API on 127.0.0.1; 0 lets the system choose.
        """
        self.options = options or EmulatorOptions()
        self._clock = clock or Clock()
        self._new_id = new_id
        self._ports = (runtime_port, invoke_port)
        self._servers: list[asyncio.Server] = []
        self._connections: set[HttpConnection] = set()
        self._host: Host | None = None

    async def __aenter__(self) -> Self:
        host = Host(self.options, clock=self._clock, new_id=self._new_id)
        self._host = host
        runtime_port, invoke_port = self._ports
        try:
            await self._listen(runtime_router(host, self.options), runtime_port)
            await self._listen(invoke_router(host, self.options), invoke_port)
        except BaseException:
            self._stop_listening()
            raise
        host.environment.start_init()
        host.flush()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Abort what runs, let idle polls see EOF, and stop listening. Idempotent."""
        host = self._running_host
        host.environment.close()
        host.flush()
        host.close()
        self._stop_listening()
        for connection in list(self._connections):
            connection.hang_up()
        # One turn, so that the closed connections are gone before the loop is.
        await asyncio.sleep(0)

    # --- where it is ----------------------------------------------------------------------

    @property
    def runtime_api(self) -> str:
        """Value for `AWS_LAMBDA_RUNTIME_API`: `host:port`."""
        return f"{_LOOPBACK}:{self._port(0)}"

    @property
    def endpoint_url(self) -> str:
        """Endpoint for an AWS SDK: `http://host:port`."""
        return f"http://{_LOOPBACK}:{self._port(1)}"

    @property
    def url(self) -> str:
        """Where to POST an event."""
        name = self.options.function_name
        return f"{self.endpoint_url}/2015-03-31/functions/{name}/invocations"

    # --- what it does ---------------------------------------------------------------------

    async def invoke(self, event: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """
        Call the function without HTTP on the caller's side.

        Args:
            event: Body of the call.
            headers: Headers as a caller would send them, such as `X-Amzn-RequestId`.

        Returns:
            The answer, errors and refusals included: nothing is raised for them.

        Raises:
            asyncio.CancelledError: The caller gave up; the environment treats it as one that
                hung up.
        """
        host = self._running_host
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def settle(answer: Answer) -> None:
            if not future.done():
                future.set_result(answer)

        lowered = {name.lower(): value for name, value in (headers or {}).items()}
        invocation = host.environment.invoke(build_request(event, lowered, self.options), settle)
        host.flush()
        try:
            return await future
        except asyncio.CancelledError:
            host.environment.caller_gone(invocation)
            host.flush()
            raise

    async def wait_until(self, condition: Callable[[EmulatorStatistics], bool]) -> None:
        """
        Wait until *condition* holds; it is asked again after everything that happens.

        Args:
            condition: Pure function of one reading.
        """
        await self._running_host.wait_until(condition)

    async def wait_ready(self, *, polls: int = 1) -> None:
        """Wait until the environment is ready and *polls* polls wait."""
        await self.wait_until(lambda now: now.phase == "READY" and now.waiting >= polls)

    def begin_shutdown(self) -> None:
        """Abort what runs and refuse what comes; `close` ends it."""
        self._running_host.environment.begin_shutdown()
        self._running_host.flush()

    def runtime_exited(self) -> None:
        """Tell the environment that the runtime process is gone."""
        self._running_host.environment.runtime_exited()
        self._running_host.flush()

    def restart_init(self) -> None:
        """A new runtime process is about to start in the same environment."""
        self._running_host.environment.start_init()
        self._running_host.flush()

    def expire(self) -> None:
        """Time out what is overdue by the injected clock."""
        self._running_host.expire()

    # --- what it knows --------------------------------------------------------------------

    @property
    def faults(self) -> FaultScript:
        """Script of faults to come."""
        return self._running_host.faults

    @property
    def extensions_registered(self) -> int:
        """Extensions registered with this environment."""
        return self._running_host.environment.extensions.count

    def statistics(self) -> EmulatorStatistics:
        """One consistent reading."""
        return self._running_host.environment.statistics()

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Broken client invariants so far; always empty unless `strict`."""
        return self._running_host.environment.audit.violations if self.options.strict else ()

    def assert_clean(self) -> None:
        """
        Check that the client has kept every rule.

        Raises:
            AssertionError: It has not; every violation is listed.
        """
        violations = self.violations
        if violations:
            raise AssertionError("\n".join(map(str, violations)))

    # --- listening ------------------------------------------------------------------------

    @property
    def _running_host(self) -> Host:
        if self._host is None:
            raise RuntimeError("the emulator has not been entered: use `async with Emulator()`")
        return self._host

    def _port(self, index: int) -> int:
        if not self._servers:
            raise RuntimeError("the emulator does not listen")
        port: int = self._servers[index].sockets[0].getsockname()[1]
        return port

    async def _listen(self, route: Callable[[Exchange], Endpoint], port: int) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: HttpConnection(route, self._connections), _LOOPBACK, port, backlog=_BACKLOG
        )
        self._servers.append(server)

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
