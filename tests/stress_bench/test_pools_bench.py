"""Every measurement of pools runs with ours, and what is computed from it is right."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stress.bench import pools
from stress.bench.contest.jobs import Job, Outcome, run_job
from stress.bench.contest.tally import sum_up
from stress.bench.pooling import measures
from stress.bench.pooling.arithmetic import ideal_wait_s, jain, percentile
from stress.bench.pooling.fairness import Caller, fair_mixed, read_callers
from stress.bench.pooling.task_pools import TASK_POOLS
from stress.bench.pooling.thread_pools import THREAD_POOLS

QUICK = {"storm": {"seconds": 0.02, "storms": 1}, "burst": {}, "forks": {"count": 4}}


def quick_options(measure: str) -> dict[str, float]:
    found = (options for start, options in QUICK.items() if measure.startswith(start))
    return dict(next(found, {"seconds": 0.05}))


# ---------------------------------------------------------------------------- arithmetic


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_fairness_is_between_one_of_n_and_one(shares: list[float]) -> None:
    assert 1 / len(shares) - 1e-9 <= jain(shares) <= 1 + 1e-9


@pytest.mark.parametrize(
    ("shares", "index"), [([5, 5, 5, 5], 1.0), ([8, 0, 0, 0], 0.25), ([2, 1], 0.9), ([0, 0], 1.0)]
)
def test_fairness_of_known_shares(shares: list[float], index: float) -> None:
    assert jain(shares) == pytest.approx(index)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(1, 100))
def test_a_percentile_is_not_exceeded_by_that_many_and_by_no_smaller_value(
    values: list[float], percent: float
) -> None:
    found = percentile(values, percent)

    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-6
    assert sum(value < found for value in values) < len(values) * percent / 100 + 1e-6


def test_percentiles_of_a_hundred_and_of_none() -> None:
    hundred = [float(number) for number in range(100, 0, -1)]

    assert [percentile(hundred, percent) for percent in (50, 99, 100)] == [50.0, 99.0, 100.0]
    assert percentile([], 99) == 0.0


def test_who_comes_back_at_once_waits_for_the_others_of_its_connection() -> None:
    assert ideal_wait_s(16, 2, 0.001) == pytest.approx(0.007)
    assert ideal_wait_s(2, 2, 0.001) == 0.0
    assert ideal_wait_s(1, 2, 0.001) == 0.0


# ---------------------------------------------------------------------------- callers


def caller_of(waits_s: list[float], holds_s: list[float]) -> Caller:
    caller = Caller()
    caller.waits_s, caller.holds_s = waits_s, holds_s
    return caller


def test_waits_that_are_not_over_count() -> None:
    caller = Caller()
    caller.ask()
    caller.settle(1e12)

    assert caller.has_asked
    assert caller.waits_s[0] > 1e9


def test_the_longest_wait_and_the_worst_callers_are_not_hidden_by_many_short_ones() -> None:
    served = caller_of([0.001] * 1000, [0.001] * 1000)
    starved = caller_of([2.0], [])

    reading = read_callers([served, served, served, starved], seconds=2.0)

    assert reading.figures["jain"] == 0.75
    assert reading.figures["p99_ms"] == pytest.approx(1.0)
    assert reading.figures["worst_p99_ms"] == reading.figures["max_ms"] == pytest.approx(2000.0)
    assert reading.figures["per_s"] == 1500.0
    assert reading.series["longest_ms"] == pytest.approx([1.0, 1.0, 1.0, 2000.0])
    assert reading.series["leases"] == [1000.0, 1000.0, 1000.0, 0.0]


def test_nobody_served_is_no_fairness() -> None:
    with pytest.raises(RuntimeError, match="nobody was ever served"):
        read_callers([caller_of([1.0], [])] * 2, seconds=1.0)


def test_a_pool_for_one_kind_of_caller_has_no_mixed_figures() -> None:
    with pytest.raises(TypeError, match="psycopg_pool has no pool that serves threads and tasks"):
        fair_mixed("psycopg_pool", 0.1)


# ---------------------------------------------------------------------------- measurements


@pytest.mark.parametrize("measure", sorted(set(measures.MEASURES) - {"forks"}))
def test_every_measurement_runs_with_ours(measure: str) -> None:
    reading = measures.MEASURES[measure](measures.OURS, **quick_options(measure))

    shown = {column.metric for column in measures.SHEETS[measure].columns}
    assert shown <= set(reading.figures)
    assert reading.figures.get("lost", 0) == reading.figures.get("stuck", 0) == 0
    assert all(figure >= 0 for figure in reading.figures.values())


@pytest.mark.system
def test_forks_are_measured_with_ours() -> None:
    outcome = run_job(
        Job("stress.bench.pooling.measures", "forks", measures.OURS, quick_options("forks"))
    )

    assert not outcome.trouble
    assert outcome.figures["own"] == 4


def test_the_floors_are_measured_without_any_library() -> None:
    assert measures.MEASURES["burst threads"]("LifoQueue").figures["opened"] == 16
    assert measures.MEASURES["burst tasks"]("Semaphore").figures["opened"] == 16


@pytest.mark.parametrize("measure", measures.SHEETS)
def test_ours_takes_part_in_everything_and_is_first(measure: str) -> None:
    contenders = measures.contenders_of(measure)

    assert contenders[0] == measures.OURS
    assert set(contenders) <= {*THREAD_POOLS, *TASK_POOLS}


# ---------------------------------------------------------------------------- bars and pictures


def test_bars_are_held_against_what_was_measured() -> None:
    outcomes = [
        Outcome("uncontended threads", "lmi_runtime", {"per_s": 300_000.0}),
        Outcome("uncontended threads", "psycopg_pool", {"per_s": 250_000.0}),
        Outcome("burst tasks", "lmi_runtime", {"wall_ms": 95.0}),
        Outcome("storm double", "lmi_runtime", {"lost": 1.0}),
        Outcome("forks", "lmi_runtime", {"forks": 40.0, "own": 40.0}),
    ]

    targets = measures.judge(sum_up(outcomes, measures.OURS))

    assert [(target.claim, target.reached) for target in targets] == [
        ("uncontended threads: leases/s", True),
        ("uncontended threads: of psycopg_pool's leases/s", False),
        ("burst tasks: ms", True),
        ("storm double: connections lost", False),
        ("forks: own connection", True),
    ]


def test_what_has_failed_reaches_no_bar() -> None:
    failed = Outcome("fair threads", "lmi_runtime", trouble="hung for 30 s")

    targets = measures.judge(sum_up([failed], measures.OURS))

    assert [target.reached for target in targets] == [False, False]


@pytest.mark.slow
def test_pictures_are_the_same_each_time_and_name_their_units(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    outcomes = [
        Outcome("fair threads", name, {}, {"longest_ms": waits, "leases": leases})
        for name, waits, leases in (
            ("lmi_runtime", [8.0] * 16, [100.0] * 16),
            ("starves", [0.5, 0.5, *[1500.0] * 14], [800.0, 800.0, *[0.0] * 14]),
        )
    ]
    folders = [tmp_path / "one", tmp_path / "two"]
    drawings = []
    for folder in folders:
        folder.mkdir()
        (path,) = pools.draw([], outcomes, folder)
        drawings.append(path.read_text())

    assert drawings[0] == drawings[1]
    assert "14 never served" in drawings[0]
    assert "10 ms" in drawings[0] and "longest wait for a connection" in drawings[0]
    assert len(drawings[0]) < 40_000
