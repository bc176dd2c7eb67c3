"""A written order is the order; one that cannot be is named."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from typing import Any

import anyio.to_thread
import pytest

from lmi_runtime.stress.tools import Schedule, TurnNeverCame, async_point, point


class Counter:
    def __init__(self) -> None:
        self.n = 0
        self.lock = threading.Lock()

    def add(self) -> None:
        point("read")
        seen = self.n
        point("write")
        self.n = seen + 1

    def add_locked(self) -> None:
        with self.lock:
            self.add()

    def add_plain(self) -> None:
        seen = self.n
        self.n = seen + 1

    async def add_async(self) -> None:
        await async_point("read")
        seen = self.n
        await async_point("write")
        self.n = seen + 1


ORDERS = [
    order
    for order in set(itertools.permutations(["a:read", "a:write", "b:read", "b:write"]))
    if order.index("a:read") < order.index("a:write")
    and order.index("b:read") < order.index("b:write")
]


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
@pytest.mark.parametrize("kinds", ["threads", "tasks", "trio", "both"])
def test_every_order_is_the_one_that_happens(order: tuple[str, ...], kinds: str) -> None:
    counter = Counter()
    a: Callable[[], Any] = counter.add if kinds in ("threads", "both") else counter.add_async
    b: Callable[[], Any] = counter.add if kinds == "threads" else counter.add_async
    backend = "trio" if kinds == "trio" else "asyncio"

    Schedule(*order).run(backend=backend, a=a, b=b)

    reads_between = order[1].endswith("read")  # both read before one writes
    assert counter.n == (1 if reads_between else 2)


def test_order_of_lines_without_points_in_the_code() -> None:
    counter = Counter()
    schedule = Schedule(
        "a:write", "b:write", lines={"write": (Counter.add_plain, "self.n = seen + 1")}
    )

    schedule.run(a=counter.add_plain, b=counter.add_plain)

    assert counter.n == 1


def test_only_one_runs_at_a_time_also_before_the_first_point() -> None:
    seen: list[str] = []

    def body(name: str) -> Callable[[], str]:
        def run() -> str:
            seen.append(f"{name} begins")
            point("middle")
            seen.append(f"{name} goes on")
            return name

        return run

    answer = Schedule("b:middle", "a:middle").run(a=body("a"), b=body("b"))

    assert seen == ["b begins", "a begins", "b goes on", "a goes on"]
    assert answer == {"a": "a", "b": "b"}


def test_points_that_are_not_mentioned_are_passed() -> None:
    seen: list[str] = []

    def loops() -> None:
        for n in range(3):
            point("other")
            point("step")
            seen.append(f"a{n}")

    def once() -> None:
        point("step")
        seen.append("b")

    Schedule("a:step", "b:step", "a:step").run(a=loops, b=once)

    assert seen == ["a0", "b", "a1", "a2"]


def test_points_mean_nothing_without_a_schedule() -> None:
    counter = Counter()
    counter.add()
    asyncio.run(counter.add_async())

    assert counter.n == 2


def test_thread_of_a_task_keeps_its_name() -> None:
    counter = Counter()

    async def elsewhere() -> None:
        await anyio.to_thread.run_sync(counter.add)

    Schedule("a:read", "b:read", "b:write", "a:write").run(a=elsewhere, b=counter.add)

    assert counter.n == 1


def test_order_that_a_lock_forbids_is_impossible_and_says_who_waits_where() -> None:
    counter = Counter()
    schedule = Schedule("a:read", "b:read", "b:write", "a:write", timeout_s=1.0)

    with pytest.raises(TurnNeverCame) as caught:
        schedule.run(a=counter.add_locked, b=counter.add_locked)

    assert "the start of b" in str(caught.value)
    assert "test_schedules.py:" in str(caught.value)
    assert str(caught.value).endswith("did not come to b:read within 1 s")
    assert not counter.lock.locked()  # whoever waited at a point was let go


def test_point_that_is_never_reached_is_named_at_once() -> None:
    schedule = Schedule("a:read", "a:sell", "b:read")

    with pytest.raises(TurnNeverCame, match="a:sell never came: a ended before it"):
        schedule.run(a=Counter().add, b=Counter().add)


def test_points_in_another_order_than_written_are_named() -> None:
    with pytest.raises(TurnNeverCame, match="a came to 'read' before a:write"):
        Schedule("a:write", "a:read").run(a=Counter().add)


def test_task_that_never_comes_is_named() -> None:
    async def waits() -> None:
        await asyncio.Event().wait()

    async def add() -> None:
        await async_point("x")

    with pytest.raises(TurnNeverCame, match="a, let go on from the start of a, did not come to"):
        Schedule("a:x", "b:x", timeout_s=1.0).run(a=waits, b=add)


def test_what_one_raises_comes_as_it_is_and_of_several_in_a_group() -> None:
    def fails() -> None:
        point("x")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Schedule("a:x", "b:read").run(a=fails, b=Counter().add)
    with pytest.raises(ExceptionGroup) as caught:
        Schedule("a:x", "b:x").run(a=fails, b=fails)
    assert len(caught.value.exceptions) == 2


def test_failure_before_a_point_is_the_failure_that_is_raised() -> None:
    def fails() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Schedule("a:x", "b:read").run(a=fails, b=Counter().add)


def test_point_in_a_task_would_hold_up_the_loop() -> None:
    async def blocks() -> None:
        point("x")

    with pytest.raises(RuntimeError, match="await async_point"):
        Schedule("a:x").run(a=blocks)


def test_loop_that_does_not_start_is_no_hang() -> None:
    async def add() -> None:
        await async_point("x")

    with pytest.raises(LookupError, match="No such backend"):
        Schedule("a:x").run(backend="twisted", a=add)


def test_what_is_written_wrongly_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="'read' is not written 'who:point'"):
        Schedule("read")
    with pytest.raises(ValueError, match=r"0 lines of Counter\.add have the text 'sell'"):
        Schedule("a:x", lines={"x": (Counter.add, "sell")})
    with pytest.raises(ValueError, match=r"2 lines of Counter\.add have"):
        Schedule("a:x", lines={"x": (Counter.add, "point(")})
    schedule = Schedule("a:read")
    with pytest.raises(ValueError, match="The schedule is of a"):
        schedule.run(b=Counter().add)
    schedule.run(a=Counter().add)
    with pytest.raises(RuntimeError, match="runs once"):
        schedule.run(a=Counter().add)
