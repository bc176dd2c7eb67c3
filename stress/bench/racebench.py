"""
Hold the race checker against a folder of programs of which it is known whether they race.

    python -m stress.bench.racebench FOLDER [--peers frontrun detangle naive] [--json]

The programs have the interface that `stress/known_bugs/README.md` describes; every racy one should
have a mended twin. Prints a line a program and a table; with ``--json`` one document on standard
output and the lines on standard error.

Exit status: 0 if every racy program was found with the fewest preemptions possible and fails again
each time it is replayed, and every twin passed with a bound that was exhausted; else 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

if not __package__:  # run as a file, not as a module
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from stress.bench.racing.crew import Crew
from stress.bench.racing.facts import Facts, find_programs
from stress.bench.racing.outcome import Budget
from stress.bench.racing.peers import NEEDS, NotRun, command_for
from stress.bench.racing.tally import (
    Row,
    as_expected,
    compare,
    render_row,
    render_sums,
    sum_up,
)

__all__ = ["main"]

OURS = "lmi"


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    options = _parse(arguments)
    programs = find_programs(options.folder, options.only)
    budget = Budget(options.schedules, options.seconds)
    wanted = [*([] if options.peers_only else [OURS]), *options.peers]
    crews, not_run = _muster(wanted, verbose=options.verbose)
    lines = sys.stderr if options.json else sys.stdout
    rows = []
    try:
        for row in _check_all(programs, crews, budget):
            print(render_row(row), file=lines, flush=True)
            rows.append(row)
    finally:
        for crew in crews.values():
            crew.close()
    sums = sum_up(rows)
    good = as_expected([row for row in rows if row.contender == OURS])
    if options.json:
        document = {
            "python": platform.python_version(),
            "budget": {"schedules": budget.schedules, "seconds": budget.seconds},
            "rows": [row.plain() for row in rows],
            "summary": [each.plain() for each in sums],
            "rate_ratios": compare(sums, OURS),
            "not_run": not_run,
            "as_expected": None if options.peers_only else good,
        }
        print(json.dumps(document, indent=1))
    else:
        print(f"\n{render_sums(sums, OURS)}")
        for name, reason in not_run.items():
            print(f"{name}: not run: {reason}")
    return 0 if good else 1


def _check_all(programs: Sequence[Facts], crews: dict[str, Crew], budget: Budget) -> Iterator[Row]:
    """Program by program, so that a slow spell of the machine hits all contenders."""
    for facts in programs:
        for name, crew in crews.items():
            if name == "detangle" and facts.kind != "async":
                continue
            if name == "naive" and not facts.racy:
                continue
            yield Row(name, facts, crew.check(facts, budget))


def _muster(names: Sequence[str], *, verbose: bool) -> tuple[dict[str, Crew], dict[str, str]]:
    crews, not_run = {}, {}
    for name in names:
        try:
            command = command_for(name)
        except NotRun as error:
            not_run[name] = str(error)
            continue
        crews[name] = Crew(
            name, command, log=sys.stderr.fileno() if verbose else subprocess.DEVNULL
        )
    return crews, not_run


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="racebench", description=__doc__.split("\n")[1])
    parser.add_argument("folder", type=Path, help="where the programs lie")
    parser.add_argument("--only", nargs="*", default=[], metavar="PART", help="parts of names")
    parser.add_argument("--schedules", type=int, default=2000, help="runs a program")
    parser.add_argument("--seconds", type=float, default=60.0, help="real seconds a program")
    parser.add_argument(
        "--peers", nargs="*", default=[], choices=[name for name in NEEDS if name != OURS]
    )
    parser.add_argument("--peers-only", action="store_true", help="leave our own checker out")
    parser.add_argument("--json", action="store_true", help="one document on standard output")
    parser.add_argument("--verbose", action="store_true", help="show what programs print")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
