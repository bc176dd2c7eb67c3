"""Limits that cannot be kept are refused; what is random stays between its bounds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.errors import ConfigurationError
from lmi_runtime.pools.policy import PoolOptions, lifetime_s, retry_after_s


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_size": 0},
        {"max_size": 2.5},
        {"min_size": -1},
        {"min_size": 3},
        {"max_waiting": -1},
        {"timeout_s": -1.0},
        {"bypass_check_s": -0.1},
        {"max_lifetime_s": 0.0},
        {"max_idle_s": -1.0},
        {"leak_after_s": 0.0},
        {"io_timeout_s": 0.0},
        {"open_timeout_s": 0.0},
    ],
    ids=str,
)
def test_a_limit_that_cannot_be_kept_is_named(wrong: dict[str, Any]) -> None:
    (name,) = wrong

    with pytest.raises(ConfigurationError, match=name):
        PoolOptions(**{"max_size": 2, **wrong})


def test_no_limit_is_a_limit() -> None:
    PoolOptions(max_size=1, max_lifetime_s=None, max_idle_s=None, leak_after_s=None)


@given(st.floats(0.001, 1e6))
def test_a_connection_lives_up_to_a_tenth_less_than_the_longest(longest_s: float) -> None:
    assert 0.9 * longest_s - 1e-9 <= lifetime_s(longest_s) <= longest_s


def test_connections_that_opened_together_do_not_end_together() -> None:
    assert len({lifetime_s(100.0) for _ in range(10)}) > 1
    assert lifetime_s(None) == float("inf")


@given(st.integers(1, 10**6))
def test_the_next_attempt_comes_within_a_second(failures: int) -> None:
    assert 0.025 <= retry_after_s(failures) <= 1.0


def test_the_first_attempt_comes_at_once_and_later_ones_later() -> None:
    assert retry_after_s(0) == 0.0
    assert retry_after_s(1) <= 0.05
    assert retry_after_s(100) >= 0.5
