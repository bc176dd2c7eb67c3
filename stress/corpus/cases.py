"""One failing schedule a file: which program, where it leaves the default, how it fails."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmi_runtime.stress.control import controlled
from lmi_runtime.stress.program import Complaint
from lmi_runtime.stress.search import decode, reproduce
from stress.bench.racing.ours import find, program_of, run_of
from stress.bench.racing.outcome import Budget, Subject

__all__ = ["FOLDER", "REPOSITORY", "Case", "load", "make", "replay", "save"]

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Case:
    """
    A schedule that fails.

    Attributes:
        program: Its file, relative to the repository if it lies in there.
        oracle: Who complains.
        object_path: Of what; for a deadlock this is not compared.
        token: Replays it.
        python: The version that made it, ``3.13``; others find their way by the source.
    """

    program: str
    oracle: str
    object_path: str
    token: str
    python: str

    @property
    def name(self) -> str:
        """Of the program."""
        return Path(self.program).stem


def load(paths: Iterable[Path]) -> list[Case]:
    """Read cases; a file holds one, or a list of them."""
    cases = []
    for path in paths:
        read: Any = json.loads(path.read_text())
        cases += [Case(**each) for each in (read if isinstance(read, list) else [read])]
    return cases


def save(case: Case, folder: Path) -> Path:
    """Write a case to a file of its own, named after the program."""
    path = folder / f"{case.name}.json"
    path.write_text(json.dumps(asdict(case), indent=1) + "\n")
    return path


def make(path: Path, budget: Budget) -> Case | None:
    """
    Search a program for its smallest failure.

    Returns:
        None when it does not fail within *budget*.
    """
    result = find(program_of(Subject(path, "")), budget)
    if not result.found:
        return None
    found = result.found[0]
    path = path.resolve()
    inside = path.is_relative_to(REPOSITORY)
    return Case(
        program=(path.relative_to(REPOSITORY) if inside else path).as_posix(),
        oracle=found.complaint.oracle,
        object_path=found.complaint.object_path,
        token=found.finding.token,
        python=decode(found.finding.token).python,
    )


def replay(case: Case) -> str:
    """
    Follow the schedule of a case once.

    Returns:
        What is wrong, in words; empty if it fails as it should.
    """
    wanted = decode(case.token)
    program = program_of(Subject(REPOSITORY / case.program, ""))
    with controlled():
        execution = reproduce(wanted, run_of(program, wanted))
    if execution.uncontrolled:
        return "; ".join(execution.uncontrolled)
    if any(_is_meant(case, each) for each in execution.complaints):
        return ""
    said = "; ".join(each.sentence for each in execution.complaints) or "it holds"
    return f"{case.oracle} ({case.object_path}) was to be seen, but: {said}"


def _is_meant(case: Case, complaint: Complaint) -> bool:
    if complaint.oracle != case.oracle:
        return False
    # What a lock without a name is called is no part of the failure.
    return case.oracle == "deadlock" or complaint.object_path == case.object_path
