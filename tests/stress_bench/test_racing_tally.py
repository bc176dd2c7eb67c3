"""How outcomes become rows, sums, a table and an exit status."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stress.bench.racing.facts import Facts
from stress.bench.racing.outcome import Outcome
from stress.bench.racing.peer_frontrun import count_switches
from stress.bench.racing.tally import (
    Row,
    as_expected,
    compare,
    render_row,
    render_sums,
    sum_up,
)

RACY = Facts(Path("t01_racy.py"), "thread", True, depth=1, gil_depth=2)
FIXED = Facts(Path("t01_fixed.py"), "thread", False)
FOUND = Outcome("found", 10, 4, 0.1, preemptions=1, builds=("free-threaded",), replayed=20)
PASSED = Outcome("pass", 100, None, 0.2, bound="2 preemptions")

GOOD = [Row("lmi", RACY, FOUND), Row("lmi", FIXED, PASSED)]


def test_found_smallest_and_repeatable_with_a_twin_that_passes_is_as_expected() -> None:
    assert as_expected(GOOD)


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [
        pytest.param(RACY, replace(FOUND, verdict="pass", bound="2"), id="said to hold"),
        pytest.param(RACY, replace(FOUND, verdict="inconclusive"), id="not found"),
        pytest.param(RACY, replace(FOUND, verdict="error"), id="broke"),
        pytest.param(RACY, replace(FOUND, preemptions=2), id="not minimal"),
        pytest.param(RACY, replace(FOUND, replayed=19), id="one replay failed"),
        pytest.param(RACY, replace(FOUND, replayed=None), id="never replayed"),
        pytest.param(FIXED, replace(FOUND, verdict="found"), id="false alarm"),
        pytest.param(FIXED, replace(PASSED, verdict="inconclusive"), id="undecided"),
        pytest.param(FIXED, replace(PASSED, bound=""), id="pass without a bound"),
    ],
)
def test_one_thing_amiss_is_enough(facts: Facts, outcome: Outcome) -> None:
    assert not as_expected([*GOOD, Row("lmi", facts, outcome)])


def test_a_find_for_builds_with_the_gil_may_need_what_those_need() -> None:
    row = Row("lmi", RACY, replace(FOUND, preemptions=2, gil_preemptions=2))

    assert row.minimal
    assert not replace(row, facts=replace(RACY, gil_depth=3)).minimal


def test_sums_name_what_went_wrong() -> None:
    rows = [
        *GOOD,
        Row("lmi", replace(RACY, path=Path("t02_racy.py")), replace(FOUND, verdict="pass")),
        Row("lmi", replace(FIXED, path=Path("t02_fixed.py")), replace(FOUND, seconds=0.0)),
        Row("lmi", replace(FIXED, path=Path("t03_fixed.py")), replace(PASSED, verdict="error")),
    ]

    (sums,) = sum_up(rows)

    assert (sums.racy, sums.found, sums.fixed) == (2, 1, 3)
    assert sums.missed == sums.false_passes == ("t02_racy",)
    assert sums.false_alarms == ("t02_fixed",)
    assert sums.undecided == ("t03_fixed",)
    assert (sums.minimal, sums.replayed, sums.to_failure) == (1, 1, 4)
    assert (sums.median_s, sums.total_s) == (0.1, 0.2)


def test_kinds_are_summed_apart_and_together() -> None:
    rows = [*GOOD, Row("lmi", replace(RACY, kind="async"), FOUND)]

    assert [(each.kind, each.racy) for each in sum_up(rows)] == [
        ("thread", 1),
        ("async", 1),
        ("all", 2),
    ]


def test_rates_are_compared_over_twins_where_nothing_is_shrunk() -> None:
    theirs = [Row("peer", RACY, FOUND), Row("peer", FIXED, replace(PASSED, seconds=1.0))]

    sums = sum_up([*GOOD, *theirs])

    assert [each.rate for each in sums] == [500.0, 100.0]
    assert compare(sums, "lmi") == {"peer thread": 5.0}


def test_nothing_run_has_no_rate_and_no_ratio() -> None:
    sums = sum_up([*GOOD, Row("peer", RACY, FOUND)])

    assert compare(sums, "lmi") == {}


def test_lines_and_table_say_what_matters() -> None:
    lines = [render_row(row) for row in GOOD]
    wrong = render_row(Row("lmi", RACY, Outcome("error", detail="its process died")))
    table = render_sums(sum_up(GOOD), "lmi").splitlines()

    assert "preemptions 1 of 1 minimal, free-threaded, replays 20/20" in lines[0]
    assert lines[1].endswith("2 preemptions")
    assert wrong.startswith("!")
    assert wrong.endswith("its process died")
    assert [cell.strip() for cell in table[2].split("|")][2:6] == ["thread", "1/1", "0", "0/1"]
    assert len({len(line) for line in table}) == 1


@pytest.mark.parametrize(
    ("schedule", "switches"),
    [([], 0), ([0, 0, 1, 1], 0), ([0, 1, 0], 1), ([0, 1, 0, 1], 2), ([1, 0, 0, 1, 2], 1)],
)
def test_only_leaving_somebody_who_goes_on_later_counts(schedule: list[int], switches: int) -> None:
    assert count_switches(schedule) == switches
