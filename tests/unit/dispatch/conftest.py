"""Dispatch on every event loop, over a Runtime API in memory."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from lmi_runtime.dispatch import Dispatcher, DispatchHooks, DispatchOptions, Slot
from lmi_runtime.model import EntryKind, Invocation, Outcome
from tests.support.memory_api import MemoryApi, MemoryLedger
from tests.support.patience import PATIENCE_S


@dataclass
class StubEntry:
    """An entry whose user code is a plain function of the invocation."""

    code: Callable[[Invocation], Any]
    kind: EntryKind = EntryKind.TASK
    deadline_margin_s: float = 0.0
    cancel_at_deadline: bool = True

    async def serve(self, invocation: Invocation) -> Outcome:
        result: Awaitable[Outcome] = self.code(invocation)
        return await result

    def serve_blocking(self, invocation: Invocation) -> Outcome:
        outcome: Outcome = self.code(invocation)
        return outcome


class Bench:
    """A dispatcher that runs, and everything around it."""

    def __init__(self, entry: StubEntry, options: DispatchOptions) -> None:
        self.api = MemoryApi()
        self.ledger = MemoryLedger()
        self.placed: list[Slot] = []
        self.left: list[Slot] = []
        hooks = DispatchHooks(placed=self.placed.append, left=self.left.append)
        self.dispatcher = Dispatcher(self.api, entry, options, ledger=self.ledger, hooks=hooks)

    def expire(self, slot: Slot) -> None:
        """Let the deadline of `slot` be over, now."""
        slot.acts_at_s = -math.inf
        self.dispatcher._keeper.watch(-math.inf)


@asynccontextmanager
async def serving(
    code: Callable[[Invocation], Any],
    *,
    limit: int = 2,
    spare: int = 1,
    strict: bool = False,
    repoll_first: bool = True,
    stall_threshold_s: float | None = None,
    **entry: Any,
) -> AsyncIterator[Bench]:
    """A dispatcher serving `code`; drained, with everything answered, on the way out."""
    options = DispatchOptions(
        limit=limit,
        spare=spare,
        strict=strict,
        repoll_first=repoll_first,
        stall_threshold_s=stall_threshold_s,
    )
    bench = Bench(StubEntry(code, **entry), options)
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.dispatcher.run)
            await bench.api.wait_polls(limit)
            yield bench
            assert await bench.dispatcher.drain(timeout_s=PATIENCE_S)
    assert bench.ledger.in_flight == {}


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
        return "asyncio", {"use_uvloop": True}
    return request.param, {}
