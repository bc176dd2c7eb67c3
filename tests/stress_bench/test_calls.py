"""The soak's eye: it must see every wrong answer."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from lmi_runtime.emulator import Answer
from stress.soaking.calls import ACTS, FORMS, Call, acts_of, draw, judge

CALL = Call("n-1", "echo")
RIGHT = {"nonce": "n-1", "seen": "n-1", "request_id": "n-1", "leaked": None, "ballast": ""}


def result(**changes: Any) -> Answer:
    return Answer(200, json.dumps(RIGHT | changes).encode())


def error(error_type: str, body: bytes = b"{}") -> Answer:
    return Answer(200, body, error_type)


def test_the_right_result_is_right() -> None:
    assert judge(CALL, result()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "n-2"},
        {"seen": "n-2"},
        {"request_id": "n-2"},
        {"leaked": "n-0"},
        {"ballast": "b"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_result_that_is_another_calls_in_any_part_is_seen(changes: dict[str, Any]) -> None:
    assert judge(CALL, result(**changes))


@pytest.mark.parametrize("body", [b"", b"null", b'{"nonce": "n-1"', b"\xff"])
def test_a_result_that_is_no_result_is_seen(body: bytes) -> None:
    assert judge(CALL, Answer(200, body))


def test_an_error_instead_of_a_result_is_seen_and_the_reverse() -> None:
    assert judge(CALL, error("Function.Refusal", b"n-1"))
    assert judge(Call("n-1", "fail"), result())


@pytest.mark.parametrize(
    ("act", "error_type"),
    [
        ("exit", "Function.SystemExit"),
        ("fail", "Function.Refusal"),
        ("fail_midway", "Function.Refusal"),
    ],
)
def test_an_error_has_to_carry_the_nonce(act: str, error_type: str) -> None:
    call = Call("n-1", act)

    assert judge(call, error(error_type, b'{"errorMessage": "n-1"}')) is None
    assert judge(call, error(error_type, b'{"errorMessage": "n-2"}'))


def test_only_a_late_call_may_be_timed_out_by_the_platform() -> None:
    timed_out = error("Sandbox.Timedout")

    assert judge(Call("n-1", "late"), timed_out) is None
    assert judge(Call("n-1", "late"), error("Function.DeadlineExceeded")) is None
    assert judge(CALL, timed_out)
    assert judge(Call("n-1", "fail"), timed_out)


@pytest.mark.parametrize("form", FORMS)
def test_calls_differ_have_their_own_nonce_and_come_again_with_the_same_seed(form: str) -> None:
    first, second = (
        [draw(dice, form, number, timeout_s=2.0) for number in range(3000)]
        for dice in (Random(1), Random(1))
    )

    assert first == second
    assert len({call.nonce for call in first}) == 3000
    assert {call.act for call in first} >= set(acts_of(form)) - {"oversized"}


@pytest.mark.parametrize("form", FORMS)
def test_a_late_call_lasts_beyond_the_time_out_and_a_caller_leaves_before_the_answer(
    form: str,
) -> None:
    calls = [draw(Random(seed), form, 0, timeout_s=2.0) for seed in range(2000)]

    assert all(call.wait_s > 2.0 for call in calls if call.act == "late")
    assert all(call.wait_s < 0.1 for call in calls if call.act != "late")
    leaving = [call for call in calls if call.act == "gone"]
    assert leaving
    assert all(call.leave_after_s is not None for call in leaving)
    assert all(call.leave_after_s <= call.wait_s for call in leaving if call.leave_after_s)


def test_every_act_is_asked_of_some_form() -> None:
    assert {act for form in FORMS for act in acts_of(form)} == set(ACTS)
