"""JSON, SARIF and files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime.stress.report import from_json, html, sarif, text, to_json, write
from lmi_runtime.stress.report.words import ORACLES
from tests.support.stress_reports import (
    SAMPLES,
    free_threaded_warning,
    hostile,
    inconclusive,
    long_counterexample,
    lost_update,
    passed_exhaustive,
)

# ------------------------------------------------------------------------- JSON


@pytest.mark.parametrize("name", SAMPLES)
def test_json_round_trip(name: str) -> None:
    report = SAMPLES[name]()

    assert from_json(json.loads(json.dumps(to_json(report)))) == report


def test_what_json_cannot_say_becomes_its_repr() -> None:
    (event,) = to_json(hostile())["findings"][0]["events"]

    assert next(iter(event.values()))[1:] == ["inf", "b'bytes'", "{1, 2}"]


def test_names_nobody_knows_are_passed_over() -> None:
    data = {**to_json(lost_update()), "colour": "green"}

    assert from_json(data) == lost_update()


def damaged(path: list[Any], value: object) -> dict[str, Any]:
    data: Any = json.loads(json.dumps(to_json(lost_update())))
    inside = data
    for key in path[:-1]:
        inside = inside[key]
    if value is None:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return data  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (["format"], "other", "not a report"),
        (["version"], 2, "version 2 of the report, 1 is known"),
        (["subject"], None, "report.subject is missing"),
        (["verdict"], "fine", "report.verdict cannot be 'fine'"),
        (["verdict"], ["failed"], r"report.verdict cannot be \['failed'\]"),
        (["seconds"], "1", "report.seconds cannot be '1'"),
        (["seed"], True, "report.seed cannot be True"),
        (["findings"], "x", "report.findings cannot be 'x'"),
        (["findings", 0], 3, r"report.findings\[0\] cannot be 3"),
        (["findings", 0, "steps", 1, "kind"], "fly", r"findings\[0\].steps\[1\].kind cannot be"),
        (["coverage", "bounds"], [1], "report.coverage.bounds cannot be"),
        (["coverage", "bounds"], {"gil": "2"}, "report.coverage.bounds cannot be '2'"),
    ],
)
def test_damaged_reports_say_where(path: list[Any], value: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        from_json(damaged(path, value))


# ------------------------------------------------------------------------- SARIF

# Of the SARIF 2.1.0 schema: what these objects must have, and all that they may have here.
REQUIRED: dict[str, set[str]] = {
    "log": {"version", "runs"},
    "run": {"tool"},
    "driver": {"name"},
    "rule": {"id"},
    "result": {"message"},
    "codeFlow": {"threadFlows"},
    "threadFlow": {"locations"},
    "notification": {"message"},
    "invocation": {"executionSuccessful"},
    "physicalLocation": {"artifactLocation"},
}
LEVELS = {"none", "note", "warning", "error"}
KINDS = {"notApplicable", "pass", "fail", "review", "open", "informational"}


def objects(log: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "log", log
    for run in log["runs"]:
        yield "run", run
        yield "driver", run["tool"]["driver"]
        yield from (("rule", rule) for rule in run["tool"]["driver"]["rules"])
        for invocation in run["invocations"]:
            yield "invocation", invocation
            yield from (("notification", n) for n in invocation["toolExecutionNotifications"])
        for result in run["results"]:
            yield "result", result
            places = [*result.get("locations", ()), *result.get("relatedLocations", ())]
            for flow in result.get("codeFlows", ()):
                yield "codeFlow", flow
                for thread in flow["threadFlows"]:
                    yield "threadFlow", thread
                    places += [step["location"] for step in thread["locations"]]
            yield from (
                ("physicalLocation", place["physicalLocation"])
                for place in places
                if "physicalLocation" in place
            )


@pytest.mark.parametrize("name", [*SAMPLES, "hostile"])
def test_sarif_has_what_the_standard_requires(name: str) -> None:
    log = sarif({**SAMPLES, "hostile": hostile}[name]())

    assert log["version"] == "2.1.0"
    for kind, found in objects(log):
        assert REQUIRED[kind] <= set(found), kind
        match kind:
            case "result":
                rules = log["runs"][0]["tool"]["driver"]["rules"]
                assert rules[found["ruleIndex"]]["id"] == found["ruleId"]
                assert found["level"] in LEVELS and found["kind"] in KINDS
                assert found["kind"] == "fail" or found["level"] == "none"
                assert found["message"]["text"]
            case "threadFlow":
                assert found["locations"]
            case "physicalLocation":
                assert found["region"]["startLine"] >= 1
                assert found["artifactLocation"]["uri"].isascii()
                assert not set(found["artifactLocation"]["uri"]) & set(' <>"`\n')


def test_sarif_orders_the_steps_of_all_threads() -> None:
    (flow,) = sarif(lost_update())["runs"][0]["results"][0]["codeFlows"]

    order = [step["executionOrder"] for t in flow["threadFlows"] for step in t["locations"]]
    assert sorted(order) == list(range(1, 9))
    assert order == [1, 2, 7, 8, 3, 4, 5, 6]


def test_sarif_points_at_the_second_access_and_mentions_the_first() -> None:
    (result,) = sarif(lost_update())["runs"][0]["results"]

    def line(place: dict[str, Any]) -> int:
        return place["physicalLocation"]["region"]["startLine"]  # type: ignore[no-any-return]

    assert [line(place) for place in result["locations"]] == [13]
    assert [line(place) for place in result["relatedLocations"]] == [12, 13]
    assert "lmi stress --replay" in result["message"]["text"]


def test_sarif_levels() -> None:
    def levels(report: Any) -> list[tuple[str, str]]:
        return [(r["ruleId"], r["level"]) for r in sarif(report)["runs"][0]["results"]]

    assert levels(long_counterexample()) == [("invariant", "error"), ("note", "note")]
    assert levels(free_threaded_warning()) == [("serial", "warning")]
    assert levels(inconclusive()) == [("coverage", "none")]
    assert levels(passed_exhaustive()) == [("note", "note")]


def test_sarif_of_an_inconclusive_search_is_open_and_names_what_escaped() -> None:
    (run,) = sarif(inconclusive())["runs"]

    assert [result["kind"] for result in run["results"]] == ["open"]
    said = [n["message"]["text"] for n in run["invocations"][0]["toolExecutionNotifications"]]
    assert "os.fork() was called at app.py:30" in said[1]


def test_sarif_rules_explain_every_oracle() -> None:
    assert all(oracle.title and oracle.meaning and oracle.mend for oracle in ORACLES.values())


# ------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("r.html", "<!doctype html>"),
        ("r.HTML", "<!doctype html>"),
        ("r.json", '{\n "format": "lmi-stress-report"'),
        ("r.sarif", '{\n "$schema"'),
        ("r.txt", "FAILED  "),
    ],
)
def test_suffix_picks_the_format(tmp_path: Path, name: str, begins: str) -> None:
    for report in (lost_update(), hostile()):
        write(report, tmp_path / name)

        assert (tmp_path / name).read_text(encoding="utf-8").startswith(begins)


@pytest.mark.parametrize("name", ["r", "r.pdf", ".html.gz"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"does not end in one of \.html, \.json"):
        write(lost_update(), tmp_path / name)

    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------- sizes


def test_a_two_line_bug_fits_one_screen() -> None:
    assert len(text(lost_update()).splitlines()) <= 40
    assert len(text(free_threaded_warning()).splitlines()) <= 40


def test_a_long_counterexample_stays_readable() -> None:
    assert len(text(long_counterexample()).splitlines()) <= 70


def test_token_and_command_stand_on_one_line_however_narrow() -> None:
    command = f"lmi stress --replay {lost_update().findings[0].token}"

    for width in (20, 60, 100):
        assert any(line.endswith(command) for line in text(lost_update(), width=width).split("\n"))


def test_page_is_the_same_every_time() -> None:
    assert html(lost_update()) == html(lost_update())
