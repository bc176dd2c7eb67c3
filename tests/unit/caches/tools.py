"""A clock to be set, threads that must end, and loaders that wait to be let go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import anyio.abc

from lmi_runtime.caches.model import Clock
from lmi_runtime.context import Request, enter
from lmi_runtime.model import Invocation
from tests.support.patience import PATIENCE_S


class SetClock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.wall_now = 1_700_000_000.0
        self.clock = Clock(lambda: self.now, lambda: self.wall_now)

    def pass_(self, seconds: float) -> None:
        """Let time pass, on both clocks."""
        self.now += seconds
        self.wall_now += seconds

    def sleep_of_the_machine(self, seconds: float) -> None:
        """Let time pass that the monotonic clock does not count."""
        self.wall_now += seconds


def until(condition: Callable[[], object]) -> None:
    """Wait, as a thread, until `condition` holds; it has to before long."""
    last = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < last, "what was waited for never came"
        time.sleep(0.0005)


async def auntil(condition: Callable[[], object]) -> None:
    """The same as a task; yields to the loop."""
    with anyio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await anyio.sleep(0.0005)


class Call:
    """A call in a thread of its own, and what became of it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self._function = function
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.value = self._function()
        except BaseException as error:
            self.error = error

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def join(self) -> Call:
        """Wait for its end; a hang is a failure."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the call hangs"
        return self

    def result(self) -> Any:
        """Its value, or its error raised."""
        self.join()
        if self.error is not None:
            raise self.error
        return self.value


class Gate:
    """A `def` loader that begins, and goes on when it is let go."""

    def __init__(self, result: Any = "loaded", error: BaseException | None = None) -> None:
        self.began = threading.Semaphore(0)
        self.calls = 0
        self._go = threading.Event()
        self.result = result
        self.error = error

    def __call__(self) -> Any:
        self.calls += 1
        self.began.release()
        assert self._go.wait(PATIENCE_S), "the loader was never let go"
        if self.error is not None:
            raise self.error
        return self.result

    def wait_begun(self) -> None:
        """Wait until it has begun (once more)."""
        assert self.began.acquire(timeout=PATIENCE_S), "the load never began"

    def go(self) -> None:
        """Let it go on, now and from now on."""
        self._go.set()


class AsyncGate:
    """The same for an `async def` loader on one loop."""

    def __init__(self, result: Any = "loaded", error: BaseException | None = None) -> None:
        self.calls = 0
        self.cancelled = 0
        self._go: anyio.Event | None = None
        self.result = result
        self.error = error

    async def load(self) -> Any:
        """The loader."""
        self.calls += 1
        try:
            await self._gate().wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return self.result

    async def wait_begun(self, calls: int = 1) -> None:
        """Wait until it has been called so often."""
        await auntil(lambda: self.calls >= calls)

    def go(self) -> None:
        """Let it go on, now and from now on; on its loop only."""
        self._gate().set()

    def _gate(self) -> anyio.Event:
        if self._go is None:
            self._go = anyio.Event()  # not before there is a loop
        return self._go


def serve(
    request_id: str = "r", *, tenant_id: str | None = None, deadline_s: float | None = None
) -> Request:
    """Make a request the current one of the calling context."""
    request = Request(Invocation(request_id, tenant_id=tenant_id, deadline_s=deadline_s))
    enter(request)
    return request
