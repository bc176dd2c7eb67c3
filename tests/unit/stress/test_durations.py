"""Times as people write them."""

from __future__ import annotations

import pytest

from lmi_runtime.stress.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 60.0),
        ("0.5", 0.5),
        (".5", 0.5),
        ("60s", 60.0),
        ("2m", 120.0),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("250ms", 0.25),
        ("1.5m", 90.0),
    ],
)
def test_a_time_is_a_number_or_has_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "5x", "-1s", "1 s", "60s!", "nan", "inf", "1e3", "²s"])
def test_all_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time such as 60s, 2m or 1m30s"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0", "0s", "0m0s", "9" * 400])
def test_a_time_is_above_zero_and_has_an_end(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time above zero"):
        parse_duration(text)
