"""Where a build with the GIL may switch: what `gil` offers, on every version of Python."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from lmi_runtime.stress.model import Granularity
from tests.unit.stress.control.tries import fails, holds, run


def other(state: Any) -> None:
    state.other = 1


def setup() -> Any:
    return SimpleNamespace(n=0, log=[], other=0, flag=True, numbers=numbers())


def helper(state: Any) -> int:
    return 1


def straight(state: Any) -> None:
    state.n += 1
    state.n += 1


def call_into_c(state: Any) -> None:
    state.log.append(1)
    state.n += 1


def call_watched(state: Any) -> None:
    state.n = helper(state)
    state.n += 1


def loop(state: Any) -> None:
    for _ in (1, 2):
        state.n += 1


def never_called(state: Any) -> None:
    if not state.flag:
        state.log.append(1)
    state.n += 1


def subscript(state: Any) -> None:
    state.__dict__["n"] = state.__dict__["n"] + 1


def generator(state: Any) -> None:
    for _ in state.numbers:
        state.n += 1


def numbers() -> Any:
    yield 1
    yield 2


def preempts(participant: Callable[[Any], None], granularity: Granularity) -> list[str]:
    """Labels of the places at which `participant`, which runs first, could be preempted."""
    execution = run(setup, [participant, other], granularity=granularity, record=True)
    assert not execution.complaints
    return [
        execution.places[each.site].label
        for each in execution.decisions
        if each.kind == "preempt" and each.actor == 0
    ]


@pytest.mark.parametrize(
    ("participant", "expected"),
    [
        (straight, ["enter"]),
        (call_into_c, ["enter", "after call"]),
        (call_watched, ["enter"]),
        (loop, ["enter", "loop", "loop"]),
        (never_called, ["enter"]),
        (subscript, ["enter"]),
        (generator, ["enter", "enter", "loop", "resume", "loop", "resume"]),
    ],
    ids=lambda value: getattr(value, "__name__", "at"),
)
def test_where(participant: Callable[[Any], None], expected: list[str]) -> None:
    assert preempts(participant, Granularity.GIL) == expected


def test_an_increment_holds_with_the_gil_and_not_without() -> None:
    def add(state: Any) -> None:
        state.n += 1

    found = fails(setup, [add, add], lambda state: state.n == 2)
    assert found.builds == ("free-threaded",)
    assert found.warning


def test_an_increment_around_a_call_does_not() -> None:
    def add(state: Any) -> None:
        state.n = state.n + abs(1)

    def add_after_sleep(state: Any) -> None:
        seen = state.n
        time.sleep(0)
        state.n = seen + 1

    assert "gil" in fails(setup, [add, add], lambda state: state.n == 2).builds
    assert "gil" in fails(setup, [add_after_sleep] * 2, lambda state: state.n == 2).builds


def test_after_a_watched_function_returns_there_is_no_switch() -> None:
    def add(state: Any) -> None:
        state.n = one(state) + state.n

    def one(state: Any) -> int:
        return 1

    found = fails(setup, [add, add], lambda state: state.n == 2)
    assert found.builds == ("free-threaded",)


def test_without_the_gil_every_access_counts() -> None:
    many = preempts(straight, Granularity.FREE_THREADED)
    assert len(many) >= 3
    assert len(preempts(straight, Granularity.LINE)) in (1, 2)


def test_one_call_into_c_is_one_step() -> None:
    def append(state: Any) -> None:
        state.log.append(1)

    holds(setup, [append, append], lambda state: len(state.log) == 2)
