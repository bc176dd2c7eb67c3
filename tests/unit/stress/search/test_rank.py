"""Ranking orders; it never leaves anything out."""

from __future__ import annotations

import pytest

from lmi_runtime.stress.search import search
from tests.unit.stress.search.toy import Body, Engine, State, Toy
from tests.unit.stress.search.toy_programs import free_only


def needle(padding: int) -> Toy:
    """One window among many places that nobody shares."""

    def body(me: str) -> object:
        def run(state: State) -> Body:
            for number in range(padding):
                yield f"read {me}{number}"
            yield "read n"
            seen = state["n"]
            yield "write n"
            state["n"] = seen + 1
            for number in range(padding):
                yield f"write {me}{number}"

        return run

    return Toy(
        [body("a"), body("b")],  # type: ignore[list-item]
        lambda state: None if state["n"] == 2 else "lost",
        start={"n": 0},
    )


@pytest.mark.parametrize("padding", [0, 10, 100])
def test_a_window_on_shared_state_is_hit_at_once_however_long_the_rest(padding: int) -> None:
    (found,) = search(needle(padding), Engine(), free_only()).found
    assert found.after <= 4  # two serial orders, then before the write


def test_a_second_lock_is_where_to_stop_first() -> None:
    def holder(first: str, second: str) -> object:
        def run(state: State) -> Body:
            for _ in range(20):
                yield "read v"
            yield f"lock {first}"
            yield "read v"
            yield f"lock {second}"
            yield f"unlock {second}"
            yield f"unlock {first}"

        return run

    program = Toy([holder("L", "R"), holder("R", "L")])  # type: ignore[list-item]
    (found,) = search(program, Engine(), free_only()).found
    assert found.after <= 4


def test_with_three_the_one_who_shares_goes_first() -> None:
    def idle(state: State) -> Body:
        yield "read v"
        yield "read w"

    program = needle(0)
    program.bodies = [program.bodies[0], idle, program.bodies[1]]
    (found,) = search(program, Engine(), free_only()).found
    assert found.after <= 8  # six orders, then before the write, to the other writer
