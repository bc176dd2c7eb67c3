"""What tasks and threads wait for in threads of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from lmi_runtime import _sync


class Thing:
    """Something that a call uses."""


def fail(watched: list[weakref.ref[Thing]]) -> Any:
    thing = Thing()
    watched.append(weakref.ref(thing))
    raise OSError("broken")


@pytest.fixture
def watched() -> Iterator[list[weakref.ref[Thing]]]:
    """References to what calls used; the garbage collector does not help."""
    gc.disable()
    yield []
    gc.enable()


def test_a_bounded_call_that_fails_leaves_no_garbage(watched: list[weakref.ref[Thing]]) -> None:
    with contextlib.suppress(OSError):
        _sync.bounded(lambda: fail(watched), 10)

    assert watched[0]() is None


@pytest.mark.anyio
async def test_a_call_of_a_task_that_fails_leaves_no_garbage(
    watched: list[weakref.ref[Thing]],
) -> None:
    with contextlib.suppress(OSError):
        await _sync.offload(lambda: fail(watched))

    assert watched[0]() is None


@pytest.mark.anyio
async def test_what_is_limited_is_cancelled_when_time_is_up() -> None:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    with pytest.raises(TimeoutError):
        await _sync.limited(wait, 0.0)

    assert ended == ["cancelled"]


@pytest.mark.anyio
async def test_what_is_done_in_time_is_returned() -> None:
    async def seven() -> int:
        return 7

    assert await _sync.limited(seven, 60.0) == 7


@pytest.mark.asyncio
async def test_a_task_that_is_nobodys_is_known_as_such_while_it_lasts() -> None:
    release, seen = asyncio.Event(), []

    async def body() -> None:
        seen.append(asyncio.current_task())
        await release.wait()

    _sync.spawn_task(body, name="nobody's")
    await asyncio.sleep(0)
    (task,) = seen
    assert task is not None
    assert _sync.is_background(task)
    own = asyncio.current_task()
    assert own is not None
    assert not _sync.is_background(own)

    release.set()
    await task
    await asyncio.sleep(0)
    assert not _sync.is_background(task)
