"""What some serial order gives is right; what none gives is named in one sentence."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from lmi_runtime.stress.oracles.serial import Observation, SerialReferences, compare, observe
from lmi_runtime.stress.program import Complaint, Ended
from lmi_runtime.stress.world import canonical


def seen(*results: Any, **state: Any) -> Observation:
    ended = [
        Ended(error=it) if isinstance(it, BaseException) else Ended(result=it) for it in results
    ]
    return observe(ended, {f"app.{name}": canonical(value) for name, value in state.items()})


def references(*observations: Observation) -> SerialReferences:
    made = SerialReferences()
    for order, observation in zip(itertools.permutations((0, 1)), observations, strict=False):
        made.add(order, observation)
    return made


def complaint(run: Observation, *observations: Observation) -> Complaint:
    found = compare(run, references(*observations))
    assert found is not None
    return found


def test_any_serial_order_will_do() -> None:
    serial = [seen(1, 2, N=2), seen(2, 1, N=2)]

    assert compare(seen(2, 1, N=2), references(*serial)) is None


def test_a_lost_update_is_named_with_both_values() -> None:
    serial = [seen("ok", "ok", COUNTS={"u1": 2})] * 2

    found = complaint(seen("ok", "ok", COUNTS={"u1": 1}), *serial)

    assert found.sentence == "app.COUNTS['u1'] is 1, in every serial order 2"
    assert found.key == ("serial", "app.COUNTS")
    assert "lock" in found.hint


def test_values_of_all_orders_are_named() -> None:
    found = complaint(seen(1, 1, LAST="c"), seen(1, 1, LAST="a"), seen(1, 1, LAST="b"))

    assert found.sentence == "app.LAST is 'c', in serial orders 'b' or 'a'" or (
        found.sentence == "app.LAST is 'c', in serial orders 'a' or 'b'"
    )


def test_a_result_goes_before_the_state() -> None:
    found = complaint(seen({"n": 1}, {"n": 1}, N=1), *[seen({"n": 1}, {"n": 2}, N=2)] * 2)

    assert found.sentence == "result of invocation 2['n'] is 1, in every serial order 2"
    assert found.key == ("serial", "")


def test_values_of_different_orders_do_not_mix() -> None:
    found = complaint(seen(1, 1), seen(1, 2), seen(2, 1))

    assert found.sentence == (
        "no serial order gives all of this together: result of invocation 2 is 1 and not 2 as "
        "in the order 1, 2; result of invocation 1 is 1 and not 2 as in the order 2, 1"
    )


def test_an_exception_that_no_order_raises_is_one() -> None:
    with pytest.raises(KeyError) as raised:
        {}["u1"]
    found = complaint(seen(raised.value, 2), seen(1, 2), seen(1, 2))

    assert found.oracle == "exception"
    assert found.sentence == (
        "invocation 1 raised KeyError: 'u1'; in every serial order its result is 1"
    )
    assert "test_serial.py" in found.traceback


def test_an_exception_that_serial_orders_raise_is_none() -> None:
    assert compare(seen(ValueError("x"), 1), references(seen(ValueError("x"), 1))) is None


def test_order_of_lists_counts_in_results_only() -> None:
    serial = [seen([1, 2], LOG=[1, 1, 2, 2]), seen([1, 2], LOG=[2, 2, 1, 1])]

    assert compare(seen([1, 2], LOG=[1, 2, 1, 2]), references(*serial)) is None
    assert compare(seen([2, 1], LOG=[1, 1, 2, 2]), references(*serial)) is not None
    assert compare(seen([1, 2], LOG=[1, 2, 2]), references(*serial)) is not None


def test_what_varies_by_itself_is_masked_and_named() -> None:
    known = references(seen({"at": 1, "n": 1}, N=1))
    known.add((0, 1), seen({"at": 2, "n": 1}, N=1))

    assert compare(seen({"at": 3, "n": 1}, N=1), known) is None
    assert compare(seen({"at": 3, "n": 2}, N=1), known) is not None
    (note,) = known.notes
    assert note.startswith("result of invocation 1['at'] was not compared")


def test_made_up_keys_mask_their_container() -> None:
    known = references(seen(1, IDS={"a7": 1}, N=1))
    known.add((0, 1), seen(1, IDS={"b8": 1}, N=1))

    assert compare(seen(1, IDS={"c9": 1}, N=1), known) is None
    assert compare(seen(1, IDS={"c9": 1}, N=2), known) is not None


def test_references_added_after_a_comparison_count() -> None:
    known = references(seen(1))
    assert compare(seen(2), known) is not None

    known.add((1, 0), seen(2))

    assert compare(seen(2), known) is None


def test_without_references_or_when_somebody_hangs_nothing_is_said() -> None:
    assert compare(seen(1), SerialReferences()) is None
    hanging = observe([Ended(finished=False)], {})
    assert compare(hanging, references(seen(1))) is None


def test_tokens_are_taken_out_of_results_and_errors() -> None:
    def observed(token: str) -> Observation:
        ended = [Ended(result={"id": token}), Ended(error=ValueError(f"no {token}"))]
        return observe(ended, {}, normalise=lambda text: text.replace(token, "<id>"))

    assert compare(observed("ca-1"), references(observed("ca-2"))) is None


def test_an_error_whose_text_fails_is_compared_all_the_same() -> None:
    class Bad(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert "its text raises RuntimeError" in str(seen(Bad()).trees)
