"""The command line that benchmarks of this kind share."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from stress.bench.contest.jobs import Job, Outcome, in_turns, run_job, run_turns
from stress.bench.contest.machine import describe, missing
from stress.bench.contest.tables import Sheet, render, render_targets
from stress.bench.contest.tally import Row, Target, plain, sum_up

__all__ = ["Bench", "run_bench"]

Draw = Callable[[Sequence[Row], Sequence[Outcome], Path], list[Path]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """
    A set of measurements.

    Attributes:
        program: Module that is run, for ``--help``.
        about: One sentence, for the same.
        module: Where its ``MEASURES`` are.
        ours: Name of the contender that the others are compared with.
        sheets: How each measurement is shown, in the order they are made.
        contenders_of: Who takes part in a measurement.
        needs: The module that a contender needs.
        distributions: Packages whose versions are told.
        options: What a measurement is told, from the options on the command line.
        rounds: Measurements that have a number of rounds of their own.
        judge: Holds ours against the bars.
        draw: Draws pictures into a directory.
        limit_s: Seconds after which a measurement with such options is taken to hang.
        more: Adds options to the command line.
    """

    program: str
    about: str
    module: str
    ours: str
    sheets: Mapping[str, Sheet]
    contenders_of: Callable[[str], Sequence[str]]
    needs: Mapping[str, str]
    distributions: Sequence[str]
    options: Callable[[str, str, argparse.Namespace], Mapping[str, float]]
    judge: Callable[[Sequence[Row]], Sequence[Target]]
    draw: Draw
    limit_s: Callable[[Mapping[str, float]], float]
    rounds: Mapping[str, int] = field(default_factory=dict)
    more: Callable[[argparse.ArgumentParser], object] = lambda parser: None


def run_bench(bench: Bench, argv: Sequence[str] | None = None) -> int:
    """Measure, print, write what was asked for; 1 when ``--check`` finds a target missed."""
    arguments = _parse(bench, argv)
    load_before = os.getloadavg()[0]
    absent = missing(bench.needs)
    for name, module in absent.items():
        _tell(f"left out: {name} ({module} is not installed)")
    outcomes = run_turns(list(_jobs(bench, arguments, absent)), run_job, _tell)
    rows = sum_up(outcomes, bench.ours)
    targets = bench.judge(rows)
    machine = describe(bench.distributions, load_before)
    _print(bench, rows, targets, machine)
    if arguments.json:
        report = {
            "machine": machine,
            "left_out": absent,
            "options": {"rounds": arguments.rounds, "seconds": arguments.seconds},
            "rows": plain(rows),
            "targets": [asdict(target) for target in targets],
            "outcomes": [asdict(outcome) for outcome in outcomes],
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
        for path in bench.draw(rows, outcomes, arguments.pictures):
            _tell(f"drawn: {path}")
    return 1 if arguments.check and not all(target.reached for target in targets) else 0


def _parse(bench: Bench, argv: Sequence[str] | None) -> argparse.Namespace:
    measures = list(bench.sheets)
    names = list(dict.fromkeys(name for m in measures for name in bench.contenders_of(m)))
    parser = argparse.ArgumentParser(prog=f"python -m {bench.program}", description=bench.about)
    parser.add_argument("--measures", nargs="+", metavar="PART", help="parts of their names")
    parser.add_argument("--contenders", nargs="+", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw pictures into DIR")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    bench.more(parser)
    return parser.parse_args(argv)


def _jobs(bench: Bench, arguments: argparse.Namespace, absent: Mapping[str, str]) -> Sequence[Job]:
    parts = arguments.measures or [""]
    measures = [name for name in bench.sheets if any(f" {part}" in f" {name}" for part in parts)]
    wanted = set(arguments.contenders) - set(absent)
    who = {name: [c for c in bench.contenders_of(name) if c in wanted] for name in measures}
    jobs = []
    for measure in measures:
        rounds = min(bench.rounds.get(measure, arguments.rounds), arguments.rounds)
        for name, contender in in_turns([measure], who, rounds):
            options = bench.options(name, contender, arguments)
            jobs.append(Job(bench.module, name, contender, options, bench.limit_s(options)))
    return jobs


def _print(
    bench: Bench, rows: Sequence[Row], targets: Sequence[Target], machine: Mapping[str, object]
) -> None:
    for measure, sheet in bench.sheets.items():
        if group := [row for row in rows if row.measure == measure]:
            print(render(sheet, group))
    if targets:
        print(render_targets(targets))
    print(", ".join(f"{key}: {value}" for key, value in machine.items()))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
