"""Differences are named where they are, and only where they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.stress.world import ABSENT, blank, canonical, differences, render, unordered


def named(left: Any, right: Any) -> dict[str, tuple[str, str]]:
    found = differences(canonical(left), canonical(right), ("app.X",))
    return {it.path: (render(it.left), render(it.right)) for it in found}


@pytest.mark.parametrize(
    ("left", "right", "path", "shown"),
    [
        ({"u1": 1}, {"u1": 2}, "app.X['u1']", ("1", "2")),
        ({"u1": 1}, {}, "app.X['u1']", ("1", "absent")),
        ({"u1": {"n": [1, 2]}}, {"u1": {"n": [1, 3]}}, "app.X['u1']['n'][1]", ("2", "3")),
        ([1], [1, 2], "app.X", ("[1]", "[1, 2]")),
        ({"a"}, set(), "app.X{'a'}", ("'a'", "absent")),
        (1, "1", "app.X", ("1", "'1'")),
        ((1,), [1], "app.X", ("(1,)", "[1]")),
    ],
)
def test_a_difference_has_a_path_and_two_values(
    left: Any, right: Any, path: str, shown: tuple[str, str]
) -> None:
    assert named(left, right) == {path: shown}


def test_what_is_the_same_has_no_difference() -> None:
    assert named({"a": [1]}, {"a": [1]}) == {}


def test_long_values_are_shown_by_what_they_are() -> None:
    assert render(canonical(list(range(100)))) == "list of 100"
    assert render(canonical("x" * 100)).endswith("...")


def test_a_mask_covers_the_likes_of_a_difference() -> None:
    left, right = canonical([{"at": 1, "n": 1}]), canonical([{"at": 2, "n": 1}])
    (difference,) = differences(left, right, ("app.X",))
    mask = frozenset({difference.pattern})
    longer = canonical([{"at": 5, "n": 1}, {"at": 6, "n": 1}])

    assert blank(left, mask, ("app.X",)) == blank(right, mask, ("app.X",))
    assert "at': ..." in render(blank(longer, mask, ("app.X",)))


def test_a_key_made_up_in_each_run_masks_its_container() -> None:
    (first, _) = differences(canonical({"id-7": 1}), canonical({"id-8": 1}), ("app.X",))

    assert first.right == ABSENT
    assert first.pattern == ("app.X",)


def test_order_of_lists_can_be_left_out_but_not_that_of_tuples() -> None:
    assert unordered(canonical({"a": [2, 1]})) == unordered(canonical({"a": [1, 2]}))
    assert unordered(canonical((2, 1))) != unordered(canonical((1, 2)))


values = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(values, values)
def test_masking_all_differences_leaves_none(left: Any, right: Any) -> None:
    one, other = canonical(left), canonical(right)
    found = list(differences(one, other, ("app.X",)))
    mask = frozenset(it.pattern for it in found)

    assert bool(found) == (one != other)
    assert blank(one, mask, ("app.X",)) == blank(other, mask, ("app.X",))
