"""What a handler leaves for the end of its request is done when its code has ended, however."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from lmi_runtime.context import current
from lmi_runtime.model import EntryKind, Invocation, Outcome, Streaming, Success
from tests.unit.dispatch.conftest import serving

pytestmark = pytest.mark.anyio


class Endings:
    """Handlers that leave something for the end."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.begun = anyio.Event()

    def _begin(self, invocation: Invocation) -> None:
        current().at_end(lambda: self.done.append(invocation.request_id))
        self.begun.set()

    async def answers(self, invocation: Invocation) -> Outcome:
        self._begin(invocation)
        return Success(b"done")

    async def raises(self, invocation: Invocation) -> Outcome:
        self._begin(invocation)
        raise ZeroDivisionError

    async def waits(self, invocation: Invocation) -> Outcome:
        self._begin(invocation)
        await anyio.sleep_forever()
        raise AssertionError

    async def streams(self, invocation: Invocation) -> Outcome:
        async def chunks() -> AsyncGenerator[bytes, None]:
            yield b"one"
            assert self.done == []
            yield b"two"

        self._begin(invocation)
        return Streaming(chunks())

    def in_a_thread(self, invocation: Invocation) -> Outcome:
        current().at_end(lambda: self.done.append(invocation.request_id))
        return Success(b"done")


@pytest.mark.parametrize("name", ["answers", "raises", "streams", "in_a_thread"])
async def test_it_is_done_once_when_the_handler_has_ended(name: str) -> None:
    endings = Endings()
    kind = EntryKind.THREAD if name == "in_a_thread" else EntryKind.TASK

    async with serving(getattr(endings, name), kind=kind) as bench:
        call: Any = bench.api.call()
        await call.answered.wait()

    assert endings.done == ["request-0"]


async def test_it_is_done_when_the_handler_is_cancelled_at_its_deadline() -> None:
    endings = Endings()

    async with serving(endings.waits) as bench:
        call: Any = bench.api.call(deadline_s=1e12)
        await endings.begun.wait()
        assert endings.done == []
        [slot] = bench.placed
        bench.expire(slot)
        await call.answered.wait()

    assert endings.done == ["request-0"]
