"""Every measurement of caches runs with ours, and counts what happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from stress.bench import caches
from stress.bench.caching import measures
from stress.bench.contest.jobs import Outcome
from stress.bench.contest.tally import sum_up

DECORATED = "lmi_runtime @cached"


def quick_options(measure: str) -> dict[str, float]:
    return {"seconds": 0.02} if measure.startswith("hits") else {}


@pytest.mark.parametrize("contender", [measures.OURS, DECORATED])
@pytest.mark.parametrize("measure", measures.MEASURES)
def test_every_measurement_runs_with_ours(measure: str, contender: str) -> None:
    reading = measures.MEASURES[measure](contender, **quick_options(measure))

    shown = {column.metric for column in measures.SHEETS[measure].columns}
    assert shown <= set(reading.figures)


@pytest.mark.parametrize("contender", [measures.OURS, DECORATED])
@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_ours_loads_once_also_when_it_fails(kind: str, contender: str) -> None:
    figures = measures.MEASURES[f"stampede, {kind}"](contender).figures

    assert (figures["loads"], figures["served"]) == (1, 64)
    assert (figures["failed_loads"], figures["told"]) == (1, 64)
    assert figures["mended"] == 1


def test_a_cache_that_does_not_join_callers_is_counted_as_such() -> None:
    figures = measures.MEASURES["stampede, threads"]("functools.lru_cache").figures

    assert figures["loads"] == figures["served"] == 64
    assert figures["failed_loads"] == figures["told"] == 64


def test_needs_are_known_by_the_first_word() -> None:
    needs = measures.needs()

    assert needs["cachetools TTLCache + Lock"] == "cachetools"
    assert needs["async-lru"] == "async_lru"
    assert not {"lmi_runtime", "lmi_runtime get", "functools.lru_cache", "dict"} & set(needs)


@pytest.mark.parametrize("measure", measures.SHEETS)
def test_ours_takes_part_in_everything_and_is_first(measure: str) -> None:
    assert measures.contenders_of(measure)[0] == measures.OURS


def test_bars_are_held_against_what_was_measured() -> None:
    outcomes = [
        Outcome("hits, 1 thread", "lmi_runtime", {"per_s": 4.0}),
        Outcome("hits, 1 thread", "cachetools TTLCache + Lock", {"per_s": 1.0}),
        Outcome("hits, 8 threads", "lmi_runtime", {"per_s": 14.0}),
        Outcome("hits, 8 threads", "cachetools TTLCache + Lock", {"per_s": 1.0}),
        Outcome("leader cancelled", "lmi_runtime", {"right": 62.0}),
        Outcome("four loops", "lmi_runtime", {"right": 128.0, "loads": 1.0}),
    ]

    targets = measures.judge(sum_up(outcomes, measures.OURS))

    assert [(target.claim, target.reached) for target in targets] == [
        ("hits, 1 thread: of cachetools TTLCache + Lock", True),
        ("hits, 8 threads: of cachetools TTLCache + Lock", False),
        ("leader cancelled: others that succeed", False),
        ("four loops: right answers", True),
        ("four loops: loads a round", True),
    ]


@pytest.mark.slow
def test_pictures_are_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = sum_up(
        [
            Outcome("stampede, tasks", "lmi_runtime", {"loads": 1.0, "failed_loads": 1.0}),
            Outcome("stampede, tasks", "does not join", {"loads": 64.0, "failed_loads": 64.0}),
        ],
        measures.OURS,
    )
    drawings = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (path,) = caches.draw(rows, [], tmp_path / name)
        drawings.append(path.read_text())

    assert drawings[0] == drawings[1]
    assert "does not join" in drawings[0]
    assert "loads (log scale)" in drawings[0]
