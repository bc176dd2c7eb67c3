"""Blocks run in the order of their numbers, in threads, in tasks, and in both."""

from __future__ import annotations

import threading
from collections.abc import Callable

import anyio
import anyio.to_thread
import pytest

from lmi_runtime.stress.tools import Sequencer, TurnNeverCame
from tests.support.patience import PATIENCE_S


def in_threads(*bodies: Callable[[], None]) -> None:
    threads = [threading.Thread(target=body, daemon=True) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_threads_take_turns_whoever_starts_first() -> None:
    turn, seen = Sequencer(), []

    def odd() -> None:
        with turn(1):
            seen.append(1)
        with turn(3):
            seen.append(3)

    def even() -> None:
        with turn(2):
            seen.append(2)
        with turn(4):
            seen.append(4)

    in_threads(even, odd)

    assert seen == [1, 2, 3, 4]


@pytest.mark.anyio
async def test_tasks_take_turns() -> None:
    turn, seen = Sequencer(), []

    async def body(*numbers: int) -> None:
        for number in numbers:
            async with turn(number):
                await anyio.lowlevel.checkpoint()
                seen.append(number)

    async with anyio.create_task_group() as group:
        group.start_soon(body, 2, 3)
        group.start_soon(body, 1, 4)

    assert seen == [1, 2, 3, 4]


@pytest.mark.anyio
async def test_threads_and_tasks_share_turns() -> None:
    turn, seen = Sequencer(), []

    def in_a_thread() -> None:
        for number in (1, 3):
            with turn(number):
                seen.append(f"thread {number}")

    async def in_a_task() -> None:
        for number in (2, 4):
            async with turn(number):
                seen.append(f"task {number}")

    async with anyio.create_task_group() as group:
        group.start_soon(in_a_task)
        group.start_soon(anyio.to_thread.run_sync, in_a_thread)

    assert seen == ["thread 1", "task 2", "thread 3", "task 4"]


def test_a_turn_that_fails_is_over() -> None:
    turn = Sequencer()
    with pytest.raises(KeyError), turn(1):
        raise KeyError

    with turn(2):
        pass


def test_turn_that_never_comes_is_named_to_all_who_wait() -> None:
    turn, told = Sequencer(timeout_s=0.05), []

    def waits(number: int) -> Callable[[], None]:
        def body() -> None:
            with pytest.raises(TurnNeverCame) as caught, turn(number):
                raise RuntimeError("not reached")
            told.append(str(caught.value))

        return body

    with turn(1):
        pass
    in_threads(waits(3), waits(4))

    assert told == ["turn 2 never came within 0.05 s"] * 2


def test_turn_that_does_not_end_is_named() -> None:
    turn = Sequencer(timeout_s=0.05)

    with turn(1), pytest.raises(TurnNeverCame, match="turn 1 did not end"), turn(2):
        pass


@pytest.mark.anyio
async def test_task_gives_up_as_well() -> None:
    turn = Sequencer(timeout_s=0.05)

    with pytest.raises(TurnNeverCame, match="turn 1 never came"):
        async with turn(2):
            pass


@pytest.mark.anyio
async def test_whoever_waits_hears_of_a_turn_that_was_cancelled() -> None:
    turn = Sequencer()

    with anyio.move_on_after(0.01):
        async with turn(2):
            pass

    with pytest.raises(TurnNeverCame, match="cancelled"):
        async with turn(1):
            pass


def test_turns_are_taken_once_and_begin_with_one() -> None:
    turn = Sequencer()
    with turn(1):
        pass

    with pytest.raises(RuntimeError, match="Turn 1 was taken twice"), turn(1):
        pass
    with pytest.raises(ValueError, match="no turn 0"):
        turn(0)
