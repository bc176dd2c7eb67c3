"""How measurements are run in turns, each in its own process, and become tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stress.bench.contest import bench
from stress.bench.contest.jobs import Job, Outcome, in_turns, run_job, run_turns
from stress.bench.contest.machine import describe, missing
from stress.bench.contest.tables import Sheet, columns, render, render_targets
from stress.bench.contest.tally import Row, Target, at_least, at_most, plain, sum_up
from tests.support.patience import PATIENCE_S

MEASURES = "tests.support.bench_measures"
SHEET = Sheet("a title", columns("leases/s = per_s ,.0f *", "p99 ms = p99_ms .1f"))


def outcome(contender: str, per_s: float) -> Outcome:
    return Outcome("rate", contender, {"per_s": per_s, "p99_ms": 1.5})


# ---------------------------------------------------------------------------- turns


def test_contenders_alternate_within_a_round() -> None:
    who = {"rate": ["ours", "theirs"], "fair": ["ours"]}

    turns = list(in_turns(["rate", "fair"], who, 2))

    assert turns == [
        *[("rate", "ours"), ("rate", "theirs")] * 2,
        *[("fair", "ours")] * 2,
    ]


def test_what_hangs_is_not_waited_for_again() -> None:
    jobs = [Job("m", "rate", name, {}) for name in ("ours", "hangs") * 3]
    told: list[str] = []

    def run(job: Job) -> Outcome:
        trouble = "hung for 60 s" if job.contender == "hangs" else ""
        return Outcome(job.measure, job.contender, {}, trouble=trouble)

    outcomes = run_turns(jobs, run, told.append)

    assert [o.contender for o in outcomes] == ["ours", "hangs", "ours", "ours"]
    assert len(told) == 4


# ---------------------------------------------------------------------------- processes


@pytest.mark.system
def test_a_job_is_read_though_the_library_prints() -> None:
    read = run_job(Job(MEASURES, "good", "ours", {"seconds": 0.5}))

    assert read == Outcome("good", "ours", {"seconds": 0.5, "letters": 4}, {"drawn": [1.0, 2.0]})


@pytest.mark.system
def test_a_hanging_job_is_ended_with_what_it_forked() -> None:
    read = run_job(Job(MEASURES, "hangs", "theirs", {}, limit_s=2.0))

    assert read.trouble == "hung for 2 s"
    assert not read.figures


@pytest.mark.system
@pytest.mark.parametrize(
    ("measure", "trouble"),
    [("raises", "ImportError: theirs is broken"), ("dies", "exit status 3")],
)
def test_a_failing_job_says_why(measure: str, trouble: str) -> None:
    assert run_job(Job(MEASURES, measure, "theirs", {})).trouble == trouble


# ---------------------------------------------------------------------------- figures


def test_figures_are_medians_and_keep_the_extremes() -> None:
    (row,) = sum_up([outcome("ours", rate) for rate in (3.0, 1.0, 2.0)], "ours")

    figure = row.figures["per_s"]
    assert (figure.median, figure.low, figure.high, figure.ratio) == (2.0, 1.0, 3.0, None)


def test_ratios_are_ours_by_theirs_round_by_round() -> None:
    """A machine that slows down for everybody between two rounds does not change them."""
    rounds = [
        made
        for speed in (1.0, 10.0, 3.0)
        for made in (outcome("ours", 20 * speed), outcome("theirs", 10 * speed))
    ]

    ours, theirs = sum_up(rounds, "ours")

    assert ours.figures["per_s"].ratio is None
    assert theirs.figures["per_s"].ratio == 2.0


def test_there_is_no_ratio_to_nothing() -> None:
    alone = sum_up([outcome("theirs", 10.0)], "ours")
    still = sum_up([outcome("ours", 5.0), outcome("theirs", 0.0)], "ours")

    assert alone[0].figures["per_s"].ratio is None
    assert still[1].figures["per_s"].ratio is None


def test_trouble_stays_with_the_figures_there_are() -> None:
    broken = replace(outcome("theirs", 0.0), figures={}, trouble="hung for 60 s")

    (row,) = sum_up([outcome("theirs", 4.0), broken], "ours")

    assert row.trouble == "hung for 60 s"
    assert row.figures["per_s"].median == 4.0
    assert plain([row])[0]["trouble"] == "hung for 60 s"


@pytest.mark.parametrize(("judge", "bar", "past"), [(at_least, 1.5, 1.49), (at_most, 95.0, 95.1)])
def test_bars_are_reached_exactly_and_never_by_what_was_not_measured(
    judge: object, bar: float, past: float
) -> None:
    assert callable(judge)
    verdicts = [judge("claim", measured, bar).reached for measured in (bar, past, None)]

    assert verdicts == [True, False, False]


# ---------------------------------------------------------------------------- tables


def test_tables_show_figures_ratios_and_what_went_wrong() -> None:
    rows = sum_up([outcome("ours", 2000.0), outcome("theirs", 1000.0)], "ours")

    text = render(SHEET, [*rows, Row("rate", "broken", {}, "hung for 60 s")])

    assert "a title" in text
    assert "2,000" in text
    assert "x 2.00" in text
    assert "hung for 60 s" in text


def test_targets_are_told_apart() -> None:
    text = render_targets([Target("fast", 2.0, True), Target("small", None, False)])

    reached, missed = (line for line in text.splitlines() if "fast" in line or "small" in line)
    assert "reached" in reached
    assert "MISSED" in missed and "not measured" in missed


def test_the_machine_and_what_is_not_installed_are_told() -> None:
    machine = describe(["rich", "no-such-distribution"], 0.5)

    packages = machine["packages"]
    assert isinstance(packages, dict)
    assert packages["rich"] and packages["no-such-distribution"] is None
    assert machine["load_average_before"] == 0.5
    assert missing({"a": "rich", "b": "no_such_module", "c": ""}) == {"b": "no_such_module"}


# ---------------------------------------------------------------------------- command line


@pytest.mark.system
def test_a_bench_runs_from_its_command_line_to_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = bench.Bench(
        program="p",
        about="a",
        module=MEASURES,
        ours="ours",
        sheets={"good": Sheet("good", columns("letters = letters .0f *"))},
        contenders_of=lambda measure: ["ours", "other", "absent"],
        needs={"absent": "no_such_module"},
        distributions=["rich"],
        options=lambda measure, contender, arguments: {"seconds": arguments.seconds},
        limit_s=lambda options: PATIENCE_S,
        judge=lambda rows: [at_least("letters", rows[0].figures["letters"].median, 5)],
        draw=lambda rows, outcomes, folder: [folder / "picture.svg"],
    )
    file = tmp_path / "report.json"

    status = bench.run_bench(
        made, ["--rounds", "1", "--json", str(file), "--pictures", str(tmp_path), "--check"]
    )

    printed = capsys.readouterr()
    assert status == 1
    assert "left out: absent" in printed.err
    assert "picture.svg" in printed.err
    assert "MISSED" in printed.out
    assert '"contender": "other"' in file.read_text()
