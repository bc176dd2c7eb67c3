"""What is open is closed latest first, where it belongs, within the time there is."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime import _sync
from lmi_runtime.pools import registry
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.anyio

PLENTY_S = 2 * PATIENCE_S
SOON_S = 0.05

Patch = pytest.MonkeyPatch
Log = pytest.LogCaptureFixture


@pytest.fixture(autouse=True)
def nothing_open(monkeypatch: Patch) -> None:
    monkeypatch.setattr(registry, "_opened", _sync.ProcessWide(dict))


class Door:
    """A closable that notes when, where and within what time it was closed."""

    home: _sync.Home | None = None

    def __init__(self, name: str, closed: list[str]) -> None:
        self.name = name
        self.closed = closed
        self.budget_s = -1.0
        self.thread = 0

    def note(self, budget_s: float) -> None:
        self.closed.append(self.name)
        self.budget_s = budget_s
        self.thread = threading.get_ident()

    def close_now(self, budget_s: float) -> None:
        self.note(budget_s)


class AsyncDoor(Door):
    async def close_now(self, budget_s: float) -> None:  # type: ignore[override]
        await anyio.lowlevel.checkpoint()
        self.note(budget_s)


@contextmanager
def loop_elsewhere() -> Iterator[tuple[asyncio.AbstractEventLoop, int]]:
    """An event loop that runs in a thread of its own, and which thread that is."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    assert thread.ident is not None
    try:
        yield loop, thread.ident
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        loop.close()


async def test_latest_opened_closes_first_whatever_its_kind() -> None:
    closed: list[str] = []
    doors = [Door("a", closed), AsyncDoor("b", closed), AsyncDoor("c", closed), Door("d", closed)]
    doors[2].home = _sync.current_home()
    for door in doors:
        registry.register(door)

    await registry.close_everything(PLENTY_S)

    assert closed == ["d", "c", "b", "a"]
    assert doors[1].thread == doors[2].thread == threading.get_ident()
    assert threading.get_ident() not in {doors[0].thread, doors[3].thread}
    budgets = [door.budget_s for door in reversed(doors)]
    assert PLENTY_S >= budgets[0] > 0
    assert budgets == sorted(budgets, reverse=True)


async def test_what_is_closed_is_closed_once() -> None:
    closed: list[str] = []
    door = Door("a", closed)
    registry.register(door)

    await registry.close_everything(PLENTY_S)
    await registry.close_everything(PLENTY_S)

    assert closed == ["a"]


async def test_the_registry_keeps_nothing_alive_unless_asked() -> None:
    closed: list[str] = []
    registry.register(Door("dropped", closed))
    registry.register(Door("held", closed), hold=True)
    gc.collect()

    await registry.close_everything(PLENTY_S)

    assert closed == ["held"]


async def test_what_is_opened_while_others_close_is_closed_too() -> None:
    closed: list[str] = []
    late = Door("late", closed)

    class Opens(Door):
        def close_now(self, budget_s: float) -> None:
            registry.register(late)
            self.note(budget_s)

    opens = Opens("opens", closed)
    registry.register(opens)

    await registry.close_everything(PLENTY_S)

    assert closed == ["opens", "late"]


@pytest.mark.parametrize("base", [Door, AsyncDoor])
@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
async def test_a_close_that_fails_is_logged_and_the_next_one_closes(
    base: type[Door], error: type[BaseException], caplog: Log
) -> None:
    closed: list[str] = []

    class Stuck(base):  # type: ignore[valid-type, misc]
        def note(self, budget_s: float) -> None:
            raise error("jammed")

    doors = [Door("fine", closed), Stuck("stuck", closed)]
    for door in doors:
        registry.register(door)

    await registry.close_everything(PLENTY_S)

    assert closed == ["fine"]
    [record] = caplog.records
    assert record.message == "Closing stuck failed"
    assert record.exc_info is not None
    assert record.exc_info[0] is error


async def test_a_task_that_is_late_is_cancelled(caplog: Log) -> None:
    cancelled = anyio.Event()

    class Slow(AsyncDoor):
        async def close_now(self, budget_s: float) -> None:  # type: ignore[override]
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.set()

    slow = Slow("slow", [])
    registry.register(slow)

    await registry.close_everything(SOON_S)

    await cancelled.wait()
    assert [record.message for record in caplog.records] == ["slow did not close within 0.05 s"]


async def test_a_thread_that_is_late_is_left_behind_and_there_is_no_time_for_others(
    caplog: Log,
) -> None:
    closed: list[str] = []
    gate = threading.Event()
    ended = threading.Event()

    class Slow(Door):
        def close_now(self, budget_s: float) -> None:
            gate.wait(PATIENCE_S)
            ended.set()

    doors = [Door("a", closed), Door("b", closed), Slow("slow", closed)]
    for door in doors:
        registry.register(door)

    await registry.close_everything(SOON_S)
    gate.set()

    assert ended.wait(PATIENCE_S)
    assert closed == []
    assert [record.message for record in caplog.records] == [
        "slow did not close within 0.05 s",
        "There was no time left to close b, a",
    ]


async def test_what_belongs_to_a_loop_that_runs_elsewhere_closes_there() -> None:
    with loop_elsewhere() as (loop, thread):
        door = AsyncDoor("there", [])
        door.home = loop
        registry.register(door)

        await registry.close_everything(PLENTY_S)

        assert door.thread == thread


@pytest.mark.parametrize("end", [lambda loop: loop.close(), lambda loop: None])
async def test_what_belongs_to_a_loop_that_does_not_run_is_left_at_once(
    end: Callable[[Any], None], caplog: Log
) -> None:
    """Also when it was only stopped: there would be nothing to wait for."""
    loop = asyncio.new_event_loop()
    end(loop)
    closed: list[str] = []
    door = AsyncDoor("lost", closed)
    door.home = loop
    registry.register(door)

    await registry.close_everything(1000 * PLENTY_S)
    loop.close()

    assert closed == []
    [record] = caplog.records
    assert record.message == "lost is left open: its event loop does not run"


def test_a_thread_may_close_what_belongs_to_a_loop(caplog: Log) -> None:
    with loop_elsewhere() as (loop, thread):
        door = AsyncDoor("there", [])
        door.home = loop

        registry.close_from_thread(door, PLENTY_S)

        assert door.thread == thread
    registry.close_from_thread(door, PLENTY_S)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_a_loop_has_ended_when_it_is_closed() -> None:
    home = _sync.current_home()
    assert home is not None
    assert _sync.is_alive(home)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_that_is_over_has_ended(backend: str) -> None:
    async def where() -> _sync.Home | None:
        return _sync.current_home()

    home = anyio.run(where, backend=backend)

    assert home is not None
    assert not _sync.is_alive(home)


class Model:
    """What should be closed, in which order, next to what is registered."""

    def __init__(self) -> None:
        self.doors: dict[str, Door] = {}  # those that the user still has
        self.order: list[str] = []
        self.held: set[str] = set()
        self.closed: list[str] = []

    def register(self, name: str, *, hold: bool) -> None:
        if name in self.held - self.doors.keys():
            return  # only the registry has it now
        registry.register(self.doors.setdefault(name, Door(name, self.closed)), hold=hold)
        self._leave(name)
        self.order.append(name)
        self.held |= {name} if hold else set()

    def forget(self, name: str) -> None:
        if name in self.doors:
            registry.forget(self.doors[name])
            self._leave(name)

    def drop(self, name: str) -> None:
        if self.doors.pop(name, None) is not None and name not in self.held:
            self._leave(name)

    def _leave(self, name: str) -> None:
        self.order = [other for other in self.order if other != name]
        self.held.discard(name)


@given(
    st.lists(
        st.tuples(st.sampled_from(["register", "hold", "forget", "drop"]), st.sampled_from("abcd"))
    )
)
def test_order_is_that_of_the_last_opening(steps: list[tuple[str, str]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_opened", _sync.ProcessWide(dict))
        model = Model()
        for step, name in steps:
            if step in {"register", "hold"}:
                model.register(name, hold=step == "hold")
            else:
                getattr(model, step)(name)

        anyio.run(registry.close_everything, PLENTY_S)

        assert model.closed == model.order[::-1]
