"""The benchmark of powertools' Logger compares what it says."""

from __future__ import annotations

import json

import pytest

from stress.bench import logger_lines


def test_ratios_are_those_of_the_same_round() -> None:
    """One slow round of the machine must not decide: it was slow for both."""
    safe = [{"line": 11.0}, {"line": 110.0}, {"line": 12.0}]
    plain = [{"line": 10.0}, {"line": 100.0}, {"line": 10.0}]

    assert logger_lines.ratios(safe, plain) == {
        "line": {"safe_us": 12.0, "plain_us": 10.0, "ratio": pytest.approx(1.1)}
    }


def test_a_line_that_costs_too_much_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = {"plain": 10.0, "safe": 11.0}
    monkeypatch.setattr(logger_lines, "_in_process", lambda kind, count: {"line": cost[kind]})
    assert logger_lines.main(["--rounds", "2"]) == 0

    cost["safe"] = 12.0
    assert logger_lines.main(["--rounds", "2"]) == 1


@pytest.mark.slow
@pytest.mark.system
def test_a_short_run_says_everything(capsys: pytest.CaptureFixture[str]) -> None:
    logger_lines.main(["--count", "20", "--rounds", "1", "--json"])

    found = json.loads(capsys.readouterr().out)
    assert set(found) == {
        "line",
        "line with keys of its own",
        "line below the level",
        "append_keys",
    }
    assert all(row["ratio"] > 0 for row in found.values())


def test_a_process_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logger_lines.sys, "executable", "false")

    with pytest.raises(RuntimeError):
        logger_lines._in_process("safe", 1)
