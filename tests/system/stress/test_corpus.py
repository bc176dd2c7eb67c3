"""
Schedules that once failed fail again, on this Python, whichever made them.

With the names of other interpreters in ``LMI_OTHER_PYTHONS`` (separated as in ``PATH``), tokens
made on each are also replayed on each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from stress.corpus.cases import FOLDER, load
from tests.support.repository import REPOSITORY

pytestmark = pytest.mark.system

FILES = sorted(FOLDER.glob("*.json"))
PYTHONS = [sys.executable, *os.environ.get("LMI_OTHER_PYTHONS", "").split(os.pathsep)]
PROGRAMS = sorted((REPOSITORY / "stress" / "known_bugs" / "programs").glob("*_racy.py"))


def corpus(python: str, *arguments: str | Path) -> dict[str, str]:
    """What is wrong with each case, by its name: nothing, if it failed as it should."""
    done = subprocess.run(
        [python, "-m", "stress.corpus", *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode and not any(each["wrong"] for each in lines):
        raise AssertionError(done.stderr)
    return {each["name"]: each["wrong"] for each in lines}


@cache
def replayed() -> dict[str, str]:
    return corpus(sys.executable, "check")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_case_fails_as_it_did(path: Path) -> None:
    assert replayed().get(path.stem, "was not replayed") == ""


def test_cases_were_made_on_several_versions() -> None:
    assert len({case.python for case in load(FILES)}) >= 3


def test_schedule_that_does_not_fail_is_named(tmp_path: Path) -> None:
    case = json.loads((FOLDER / "withdraw_twice_racy.json").read_text())
    case["program"] = case["program"].replace("_racy", "_fixed")
    path = tmp_path / "case.json"
    path.write_text(json.dumps(case))

    assert "it holds" in corpus(sys.executable, "check", path)["withdraw_twice_fixed"]


def test_program_is_added_and_then_fails(tmp_path: Path) -> None:
    program = PROGRAMS[0].with_name("withdraw_twice_racy.py")

    corpus(sys.executable, "add", "--to", tmp_path, program)

    (path,) = tmp_path.iterdir()
    assert corpus(sys.executable, "check", path) == {"withdraw_twice_racy": ""}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("maker", [name for name in PYTHONS if name])
def test_tokens_of_each_version_fail_on_each(maker: str, tmp_path: Path) -> None:
    corpus(maker, "add", "--to", tmp_path, *PROGRAMS)

    for name in filter(None, PYTHONS):
        results = corpus(name, "check", *sorted(tmp_path.iterdir()))
        assert len(results) == len(PROGRAMS)
        assert not any(results.values()), (name, results)
