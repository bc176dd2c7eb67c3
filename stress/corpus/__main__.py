"""
Add failing schedules to the corpus, or replay what is in it.

    python -m stress.corpus add PROGRAM... [--to FOLDER]
    python -m stress.corpus check [FILE...]
    python -m stress.corpus renew [FILE...]

`add` searches each program and writes its smallest failure to a file; `check` replays, prints a
line of JSON for each (``name``, ``wrong``: empty if it failed as it should); `renew` adds the
programs again that do not fail as they should.

Exit status: 0 if every program failed as it should, else 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from stress.bench.racing.outcome import Budget
from stress.corpus.cases import FOLDER, REPOSITORY, load, make, replay, save

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    options = _parse(arguments)
    if options.command == "add":
        return _add(options.programs, options.to, Budget(options.schedules, options.seconds))
    files = options.files or sorted(FOLDER.glob("*.json"))
    if options.command == "check":
        return _check(files)
    programs = [REPOSITORY / case.program for case in load(files) if replay(case)]
    return _add(programs, FOLDER, Budget(options.schedules, options.seconds))


def _add(programs: Sequence[Path], folder: Path, budget: Budget) -> int:
    status = 0
    for path in programs:
        case = make(path, budget)
        if case is None:
            print(f"{path}: does not fail within the budget", flush=True)
            status = 1
        else:
            print(save(case, folder), flush=True)
    return status


def _check(files: Sequence[Path]) -> int:
    status = 0
    for case in load(files):
        wrong = replay(case)
        print(json.dumps({"name": case.name, "wrong": wrong}), flush=True)
        status |= bool(wrong)
    return status


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="corpus", description=__doc__.split("\n")[1])
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="search programs, keep their smallest failure")
    add.add_argument("programs", type=Path, nargs="+")
    add.add_argument("--to", type=Path, default=FOLDER, metavar="FOLDER")
    check = commands.add_parser("check", help="replay them")
    renew = commands.add_parser("renew", help="search again where a replay does not fail")
    for command in (add, renew):
        command.add_argument("--schedules", type=int, default=2000, help="runs a program")
        command.add_argument("--seconds", type=float, default=60.0, help="real seconds a program")
    for command in (check, renew):
        command.add_argument("files", type=Path, nargs="*")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # threads that a program has left behind would keep the process
