"""Small programs with known bugs, for the toy engine."""

from __future__ import annotations

from collections.abc import Callable

from lmi_runtime.stress.model import Granularity
from lmi_runtime.stress.search import SearchSettings
from tests.unit.stress.budgets import AMPLE_S
from tests.unit.stress.search.toy import Body, State, Toy

FREE = (Granularity.FREE_THREADED,)


def steps(number: int, what: str = "read v") -> Callable[[State], Body]:
    """A body of `number` + 1 steps that harms nobody."""

    def body(state: State) -> Body:
        for _ in range(number):
            yield what

    return body


def free_only(max_schedules: int = 10_000, max_bound: int = 2) -> SearchSettings:
    return SearchSettings(
        budget_s=AMPLE_S, granularities=FREE, max_schedules=max_schedules, max_bound=max_bound
    )


def increments(prefix: str = "", number: int = 2) -> Toy:
    """A lost update; with ``call`` before it a build with the GIL loses it, too."""

    def increment(state: State) -> Body:
        yield f"{prefix}read n"
        seen = state["n"]
        yield f"{prefix}write n"
        state["n"] = seen + 1

    def lost(state: State) -> str | None:
        return None if state["n"] == number else "lost update"

    return Toy([increment] * number, lost, start={"n": 0}, name="increments")


def two_preemptions(padding: int = 0, prefix: str = "") -> Toy:
    """Fails only if the first is stopped between a and b, and the second between c and d."""

    def first(state: State) -> Body:
        state["a"] = 1
        yield f"{prefix}write b"
        state["b"] = state["c"]
        for _ in range(padding):
            yield f"{prefix}read v"

    def second(state: State) -> Body:
        state["c"] = state["a"]
        yield f"{prefix}write d"
        if state["b"]:
            state["wrong"] = True
        for _ in range(padding):
            yield f"{prefix}read v"

    start = {"a": 0, "b": 0, "c": 0, "wrong": False}
    return Toy([first, second], lambda s: "torn" if s["wrong"] else None, start=start)


def philosophers() -> Toy:
    """Two locks in opposite orders."""

    def eat(left: str, right: str) -> Callable[[State], Body]:
        def body(state: State) -> Body:
            yield f"lock {left}"
            yield f"lock {right}"
            yield f"unlock {right}"
            yield f"unlock {left}"

        return body

    return Toy([eat("L", "R"), eat("R", "L")])
