"""How trials become medians, ratios, tables and verdicts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stress.bench.against_awslambdaric import plan_turns
from stress.bench.report import judge, render, summarize
from stress.bench.trial import Trial

THEIRS = Trial(
    contender="awslambdaric",
    function="heavy",
    slots=32,
    processes=33,
    rss_mb=1200.0,
    pss_mb=1200.0,
    anonymous_mb=1100.0,
    polling_s=10.0,
    requests_per_s=1000.0,
    p50_ms=10.0,
    p99_ms=20.0,
    mean_ms=32.0,
    refused_share=0.0,
    busy_refused_share=0.3,
    busy_p99_ms=55.0,
    failed=0,
    cpu_ms=0.4,
)
OURS = replace(
    THEIRS, contender="uvloop", pss_mb=100.0, polling_s=1.0, p99_ms=20.0, requests_per_s=1300.0
)


def test_figures_are_medians_and_keep_the_extremes() -> None:
    rounds = [replace(THEIRS, cpu_ms=cpu_ms) for cpu_ms in (0.9, 0.1, 0.2)]

    (summary,) = summarize(rounds)

    figure = summary.figures["cpu_ms"]
    assert (figure.median, figure.low, figure.high) == (0.2, 0.1, 0.9)


def test_ratios_are_taken_round_by_round() -> None:
    """A machine that slows down for everybody between two rounds does not change them."""
    trials = [
        replace(THEIRS, cpu_ms=1.0),
        replace(OURS, cpu_ms=0.5),
        replace(THEIRS, cpu_ms=10.0),
        replace(OURS, cpu_ms=5.0),
        replace(THEIRS, cpu_ms=2.0),
        replace(OURS, cpu_ms=1.0),
    ]

    ours = summarize(trials)[1]

    assert ours.figures["cpu_ms"].ratio == 0.5


def test_there_is_no_ratio_to_nothing() -> None:
    alone, (_, ours) = summarize([OURS]), summarize([THEIRS, OURS])

    assert alone[0].figures["cpu_ms"].ratio is None
    assert ours.figures["refused_share"].ratio is None


def test_cases_are_kept_apart() -> None:
    trials = [THEIRS, OURS, replace(THEIRS, slots=64), replace(OURS, slots=64, pss_mb=300.0)]

    summaries = summarize(trials)

    assert [(s.slots, s.contender) for s in summaries] == [
        (32, "awslambdaric"),
        (32, "uvloop"),
        (64, "awslambdaric"),
        (64, "uvloop"),
    ]
    assert summaries[3].figures["pss_mb"].ratio == 0.25


def test_tables_are_markdown_with_ratios_below_every_runtime_but_the_baseline() -> None:
    text = render(summarize([THEIRS, OURS]))

    heading, _, first, rule, theirs, ours, ratios = text.splitlines()
    assert heading == "heavy function, 32 slots, 32 callers"
    assert first.startswith("| runtime")
    assert set(rule) == {"|", "-", ":"}
    assert "| awslambdaric |" in theirs
    assert "| uvloop " in ours
    assert "1/12.0" in ratios
    assert "x 1.30" in ratios
    assert len({len(line) for line in (first, rule, theirs, ours, ratios)}) == 1


def test_targets_are_reached_at_the_bar_and_missed_beyond_it() -> None:
    at_the_bar = judge(summarize([THEIRS, OURS]), "uvloop")
    beyond = replace(OURS, pss_mb=101.0, polling_s=1.1, p99_ms=20.1, busy_p99_ms=56.0)
    missed = judge(summarize([THEIRS, beyond]), "uvloop")

    assert [target.reached for target in at_the_bar] == [True] * 4
    assert [target.reached for target in missed] == [False] * 4


def test_one_refusal_in_one_round_misses_the_target() -> None:
    theirs = replace(THEIRS, function="empty")
    ours = replace(OURS, function="empty", cpu_ms=0.16, busy_refused_share=0.0)
    refused = replace(ours, busy_refused_share=0.0001)

    clean = judge(summarize([theirs, ours, theirs, ours]), "uvloop")
    once = judge(summarize([theirs, ours, theirs, refused, theirs, ours]), "uvloop")

    assert [target.reached for target in clean] == [True, True, True, True]
    assert [target.reached for target in once] == [True, True, True, False]


def test_nothing_measured_is_no_target_reached() -> None:
    assert judge(summarize([THEIRS, OURS]), "asyncio") == []
    assert not any(target.reached for target in judge(summarize([OURS]), "uvloop"))


@pytest.mark.parametrize("rounds", [1, 3])
def test_runtimes_take_turns(rounds: int) -> None:
    turns = list(plan_turns(["empty"], [16], ["awslambdaric", "uvloop"], rounds))

    assert [turn.contender for turn in turns] == ["awslambdaric", "uvloop"] * rounds


def test_rare_modes_run_once_and_with_one_number_of_slots() -> None:
    turns = list(plan_turns(["empty"], [16, 32], ["awslambdaric", "process"], 2))

    assert [(t.slots, t.contender) for t in turns if t.contender == "process"] == [(32, "process")]
