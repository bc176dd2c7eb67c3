"""The environments that have to agree: ours on two event loops, and AWS's own."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from lmi_runtime.emulator import Clock, Emulator, EmulatorOptions, LocalEnvironment
from tests.contract.wire.client import Wire
from tests.support.patience import PATIENCE_S
from tests.support.rie import Rie


class Start(Protocol):
    """Makes an environment of the kind under test."""

    def __call__(
        self,
        *,
        timeout_s: int = 120,
        max_concurrency: int = 4,
        program: str | None = None,
    ) -> Wire:
        """
        Args:
            timeout_s: The function's time-out, also the limit for init.
            max_concurrency: The N of the environment.
            program: Python program to run as the runtime process; None runs one that sleeps.
        """


def split_address(address: str) -> tuple[str, int]:
    host, _, port = address.partition(":")
    return host, int(port)


class EmbeddedWire(Wire):
    """Our emulator, on an event loop in a thread of its own, with a clock that we move."""

    def __init__(
        self, options: EmulatorOptions, program: str | None, new_loop: Callable[[], Any]
    ) -> None:
        super().__init__()
        self._now_s = 0.0
        self._emulator = Emulator(options, clock=Clock(monotonic_s=lambda: self._now_s))
        self._command = None if program is None else [sys.executable, "-c", program]
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._stack = AsyncExitStack()
        self._shutdown: Any = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._on_loop(self._start())
        self.runtime = split_address(self._emulator.runtime_api)
        self.callers = split_address(self._emulator.endpoint_url.removeprefix("http://"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close_connections()
        if self._shutdown is not None:
            self._shutdown.result(PATIENCE_S)
        self._on_loop(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self._loop.close()

    def let_time_out(self) -> None:
        self._on_loop(self._expire())

    def begin_shutdown(self) -> None:
        self._shutdown = asyncio.run_coroutine_threadsafe(self._stack.aclose(), self._loop)

    async def _start(self) -> None:
        if self._command is None:
            await self._stack.enter_async_context(self._emulator)
        else:
            environment = LocalEnvironment(self._command, emulator=self._emulator, cwd=Path("/"))
            await self._stack.enter_async_context(environment)

    async def _expire(self) -> None:
        self._now_s += self._emulator.options.timeout_s
        self._emulator.expire()

    def _on_loop(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)


class RieWire(Wire):
    """AWS's emulator. Its time-outs take the time they take."""

    def __init__(self, rie: Rie) -> None:
        super().__init__()
        self._rie = rie
        self._ending: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._rie.__enter__()
        self._rie.wait_for_process()
        self.runtime = split_address(self._rie.runtime_api)
        self.callers = split_address(self._rie.invoke_api)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close_connections()
        self._rie.__exit__(kind, error, trace)
        if self._ending is not None:
            self._ending.join(PATIENCE_S)

    def let_time_out(self) -> None:
        """Nothing to do: the callers' answers are the signal that the time has passed."""

    def begin_shutdown(self) -> None:
        self._ending = threading.Thread(target=self._rie.shutdown, daemon=True)
        self._ending.start()


def embedded(new_loop: Callable[[], Any]) -> Callable[..., EmbeddedWire]:
    """A `Start` for our emulator."""

    def start(
        *, timeout_s: int = 120, max_concurrency: int = 4, program: str | None = None
    ) -> EmbeddedWire:
        options = EmulatorOptions(
            timeout_s=timeout_s,
            init_timeout_s=timeout_s,
            max_concurrency=max_concurrency,
            rie_deadline_bug=True,
        )
        return EmbeddedWire(options, program, new_loop)

    return start


def start_rie(
    *, timeout_s: int = 120, max_concurrency: int = 4, program: str | None = None
) -> RieWire:
    """A `Start` for AWS's emulator."""
    command: Sequence[str] | None = None if program is None else ["main.py"]
    code = {} if program is None else {"main.py": program}
    return RieWire(Rie(code, command, max_concurrency=max_concurrency, timeout_s=timeout_s))
