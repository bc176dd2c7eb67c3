"""The benchmark of the budget measures what it says."""

from __future__ import annotations

import json

import pytest

from stress.bench import budget


def test_jains_index_is_one_for_equal_shares_and_falls_to_one_nth() -> None:
    assert budget.jain([3, 3, 3, 3]) == 1
    assert budget.jain([8, 0, 0, 0]) == 0.25


def test_percentiles_are_values_that_were_measured() -> None:
    assert budget.percentile([3, 1, 2, 4], 0.5) == 3
    assert budget.percentile([3, 1, 2, 4], 1.0) == 4


def test_the_most_at_once_is_counted_from_when_each_had_one() -> None:
    """One that begins at the moment another one ends comes after it."""
    assert budget._most_at_once([[1.0, -3.0, 4.0, -6.0], [2.0, -4.0], [3.0, -5.0]]) == 2
    assert budget._most_at_once([[1.0, -3.0], [2.0, -4.0], [2.5, -5.0]]) == 3


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_short_run_says_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert budget.main(["--seconds", "0.2", "--kills", "2", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert found["take_and_give_per_s"] > 0
    assert found["32_processes_5_permits"]["most_at_once"] <= 5
    assert 0 < found["16_processes_4_permits"]["jain"] <= 1
    assert found["after_sigkill"]["median_ms"] > 0
