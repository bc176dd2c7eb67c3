"""
Run campaigns over our own code.

    python -m stress.scenarios [NAME ...] [--budget 30s] [--seed N] [--list]

Prints a line each: verdict, the bound that was exhausted, schedules, seconds. What fails is
explained and kept in ``stress/scenarios/found``. Exit status: 0 if all hold, 1 if one fails, 2
if one is inconclusive.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lmi_runtime.stress.durations import parse_duration
from lmi_runtime.stress.model import Report, Verdict
from lmi_runtime.stress.search import Progress
from stress.scenarios import SCENARIOS
from stress.scenarios.campaign import explored, kept, line_of

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    options = _parse(arguments)
    if options.list:
        for name, make in SCENARIOS.items():
            print(f"{name:<28} {(make.__doc__ or '').strip()}")
        return 0
    return max((_run(name, options) for name in options.names or SCENARIOS), default=0)


def _run(name: str, options: argparse.Namespace) -> int:
    scenario = SCENARIOS[name]()
    budget = scenario.budget
    if options.budget is not None:
        budget = budget._replace(seconds=options.budget, schedules=10_000_000)
    show = _show if sys.stderr.isatty() else None
    report = explored(name, scenario, budget, seed=options.seed, progress=show)
    print(line_of(name, report), flush=True)
    for sentence in (*report.coverage.uncontrolled, *report.notes):
        print(f"    {sentence}")
    for finding in report.findings:
        print(f"    {finding.sentence}\n{finding.traceback}    kept: {kept(name, finding)}")
    return _status(report)


def _status(report: Report) -> int:
    if report.findings:
        return 1
    return 2 if report.verdict is Verdict.INCONCLUSIVE else 0


def _show(progress: Progress) -> None:
    text = f"{progress.search} {progress.schedules} schedules {progress.seconds:.0f} s"
    print(f"\r{text:<60}\r", end="", file=sys.stderr, flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m stress.scenarios", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="by default all")
    parser.add_argument("--budget", type=parse_duration, help="of each, such as 30s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="say what there is")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in SCENARIOS]:
        parser.error(f"there is no scenario {', '.join(unknown)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
