"""What racebench reads from a program without running it, and what its loader does."""

from __future__ import annotations

from pathlib import Path

import pytest

from stress.bench.racing.facts import Facts, find_programs, read_facts
from stress.bench.racing.outcome import Outcome, Subject

PROGRAM = '''\
"""A counter."""
KIND = "thread"
RACY = True
DEPTH = 1  # minimal preemptions
GIL_DEPTH = None
FAILS_BY = "exception"
TAGS = ("one", "two")
LOCKS = [object()]
raise SystemExit("nobody may run this to read it")
'''


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_constants_are_read_without_running_the_program(tmp_path: Path) -> None:
    path = write(tmp_path, "t01_racy.py", PROGRAM)

    assert read_facts(path) == Facts(path, "thread", True, 1, None, "exception")


def test_a_file_that_is_no_program_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "helper.py", "KIND = 'thread'\n")
    write(tmp_path, "b_racy.py", PROGRAM)
    write(tmp_path, "a_racy.py", PROGRAM)

    assert [facts.name for facts in find_programs(tmp_path)] == ["a_racy", "b_racy"]
    assert [facts.name for facts in find_programs(tmp_path, ["b_"])] == ["b_racy"]


def test_a_folder_without_programs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no racy program"):
        find_programs(tmp_path)


def test_a_program_is_executed_once_and_only_when_it_is_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    text = f"with open({str(log)!r}, 'a') as log:\n    log.write('x')\nA = __file__\n"
    path = write(tmp_path, "program.py", text)

    subject = Subject(path, "thread")
    before = log.exists()

    assert subject.module is subject.module
    assert (before, log.read_text(), subject.module.A) == (False, "x", str(path))


def test_outcomes_survive_json() -> None:
    outcome = Outcome("found", 7, 3, 0.5, preemptions=1, builds=("free-threaded",), replayed=20)

    assert Outcome.of({**outcome.plain(), "builds": list(outcome.builds)}) == outcome
