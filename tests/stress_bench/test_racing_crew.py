"""Checkers in processes of their own: answers, hangs, deaths, and the whole bench over them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stress.bench import racebench
from stress.bench.racing import peers
from stress.bench.racing.crew import Crew
from stress.bench.racing.facts import Facts
from stress.bench.racing.outcome import Budget
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.system

BUDGET = Budget(schedules=3, seconds=PATIENCE_S)

PROGRAM = """\
KIND = "thread"
RACY = True
DEPTH = 0
def make_state():
    return []
def threads(state):
    return [lambda: print("noise on standard output"), lambda: {act}]
def invariant(state):
    return {holds}
"""


def program(folder: Path, name: str, *, act: str = "None", holds: str = "True") -> Facts:
    path = folder / f"{name}.py"
    path.write_text(PROGRAM.format(act=act, holds=holds))
    return Facts(path, "thread", True, 0)


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew("naive", [sys.executable])
    yield crew
    crew.close()


def test_one_process_answers_for_one_program_after_another(crew: Crew, tmp_path: Path) -> None:
    bad = crew.check(program(tmp_path, "bad", holds="False"), BUDGET)
    raising = crew.check(program(tmp_path, "raising", act="1 / 0"), BUDGET)
    good = crew.check(program(tmp_path, "good"), BUDGET)

    assert (bad.verdict, bad.detail) == ("found", "the invariant does not hold")
    assert (raising.verdict, raising.detail) == ("found", "ZeroDivisionError: division by zero")
    assert (good.verdict, good.schedules) == ("inconclusive", 3)


def test_a_program_that_cannot_be_loaded_is_an_error_and_the_next_is_checked(
    crew: Crew, tmp_path: Path
) -> None:
    broken = crew.check(program(tmp_path, "broken", act="]"), BUDGET)
    next_one = crew.check(program(tmp_path, "bad", holds="False"), BUDGET)

    assert broken.verdict == "error"
    assert broken.detail.startswith("SyntaxError")
    assert next_one.verdict == "found"


def test_a_process_that_dies_is_an_error_and_is_replaced(crew: Crew, tmp_path: Path) -> None:
    dead = crew.check(program(tmp_path, "dies", act="__import__('os')._exit(3)"), BUDGET)
    next_one = crew.check(program(tmp_path, "bad", holds="False"), BUDGET)

    assert (dead.verdict, dead.detail) == ("error", "its process died")
    assert next_one.verdict == "found"


def test_a_checker_that_hangs_is_ended_and_replaced(tmp_path: Path) -> None:
    crew = Crew("naive", [sys.executable], grace_s=0.0)
    endless = program(tmp_path, "endless", holds="[None for _ in iter(int, 1)]")
    try:
        crew.check(program(tmp_path, "bad", holds="False"), BUDGET)
        outcome = crew.check(endless, Budget(schedules=3, seconds=0.1))
        next_one = crew.check(program(tmp_path, "bad", holds="False"), BUDGET)
    finally:
        crew.close()

    assert (outcome.verdict, outcome.detail) == ("error", "hung, and was ended")
    assert next_one.verdict == "found"


def test_json_is_one_document_and_a_peer_that_cannot_be_had_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "bad_racy", holds="False")
    monkeypatch.setenv("LMI_CACHE_DIR", str(tmp_path / "cache"))

    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(peers.venv, "create", fail)
    status = racebench.main(
        [str(tmp_path), "--json", "--peers-only", "--peers", "naive", "frontrun"]
    )

    out, err = capsys.readouterr()
    document = json.loads(out)
    assert status == 0
    assert [row["name"] for row in document["rows"]] == ["bad_racy"]
    assert document["summary"][0]["found"] == 1
    assert document["not_run"] == {"frontrun": "no virtual environment: no room"}
    assert "bad_racy" in err
