"""Shutdown hooks: latest first, each failure logged, all of them within one budget."""

from __future__ import annotations

import logging
import threading

import anyio
import anyio.lowlevel
import pytest

from lmi_runtime import _sync
from lmi_runtime.handlers import lifecycle, on_shutdown, run_shutdown_hooks

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _no_hooks_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_hooks", _sync.ProcessWide(list))


async def test_hooks_run_latest_first_and_once() -> None:
    ran = []

    @on_shutdown
    def first() -> None:
        ran.append(("first", threading.get_ident() == loop_thread))

    @on_shutdown
    async def second() -> None:
        await anyio.lowlevel.checkpoint()
        ran.append(("second", threading.get_ident() == loop_thread))

    @on_shutdown
    def third() -> object:
        return second()

    loop_thread = threading.get_ident()
    await run_shutdown_hooks(20)
    await run_shutdown_hooks(20)

    # A plain function may block: not on the loop. What it returns is awaited there.
    assert ran == [("second", True), ("second", True), ("first", False)]


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
async def test_failing_hook_is_logged_and_the_next_one_runs(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    ran = []

    @on_shutdown
    def last() -> None:
        ran.append("last")

    @on_shutdown
    def broken() -> None:
        raise kind("sync")

    @on_shutdown
    async def broken_too() -> None:
        raise kind("async")

    with caplog.at_level(logging.ERROR):
        await run_shutdown_hooks(20)

    assert ran == ["last"]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "broken_too failed" in messages[0]
    assert "broken failed" in messages[1]


async def test_async_hook_that_is_late_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    ran, cancelled = [], []

    @on_shutdown
    def never() -> None:
        ran.append("never")

    @on_shutdown
    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)

    await run_shutdown_hooks(0)

    assert (ran, cancelled) == ([], [True])
    assert "out of time" in caplog.text
    assert "slow" in caplog.text
    assert "never" in caplog.text


async def test_thread_that_is_late_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    released, ended = threading.Event(), []

    @on_shutdown
    def slow() -> None:
        released.wait(5)  # bounded: were it waited for, this test would fail and not hang
        ended.append(True)

    try:
        await run_shutdown_hooks(0.01)
        assert not ended
        assert "out of time" in caplog.text
    finally:
        released.set()


async def test_cancelling_the_shutdown_itself_goes_through() -> None:
    @on_shutdown
    async def slow() -> None:
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        scope.cancel()
        await run_shutdown_hooks(20)
    assert scope.cancelled_caught
