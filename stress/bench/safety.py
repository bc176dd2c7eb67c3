"""
What `make_safe` costs a start: of functions that import powertools, and of those that do not.

    python -m stress.bench.safety [--rounds N] [--json FILE] [--check]

Processes that import the same things take turns, with `make_safe` called before and without it.
The figure is the difference of their medians; the room itself is imported in both, as by the
runtime.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from stress.bench.contest.machine import describe
from stress.bench.contest.tables import render_targets
from stress.bench.contest.tally import at_most
from stress.bench.footprint import Cost, Python, time_codes

__all__ = ["FUNCTIONS", "main"]

_MOST_MS = 20.0

_USUAL = "import boto3; from aws_lambda_powertools import Logger, Metrics, Tracer"
FUNCTIONS = {
    "imports nothing": "pass",
    "Logger, Metrics, Tracer": _USUAL,
    "and a REST resolver, Batch, Idempotency, Parameters, Parser": (
        f"{_USUAL}; import aws_lambda_powertools.event_handler, aws_xray_sdk.core;"
        "from aws_lambda_powertools.utilities import batch, idempotency, parameters, parser"
    ),
}
"""What functions import, by name."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when ``--check`` finds a target missed."""
    parser = argparse.ArgumentParser(
        prog="python -m stress.bench.safety", description="What make_safe costs a start."
    )
    parser.add_argument("--rounds", type=int, default=15, help="processes of each kind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    arguments = parser.parse_args(argv)
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        python = Python(Path(folder))
        costs = {
            name: _with_and_without(python, code, arguments.rounds)
            for name, code in FUNCTIONS.items()
        }
    for name, (plain, safe) in costs.items():
        print(f"{plain.wall_ms:7.1f} ms plain, {safe.wall_ms:7.1f} ms safe  {name}")
    targets = [
        at_most(f"make_safe, ms of CPU: {name}", safe.cpu_ms - plain.cpu_ms, _MOST_MS)
        for name, (plain, safe) in costs.items()
    ]
    print(f"\n{render_targets(targets)}")
    if arguments.json:
        report = {
            "machine": describe(["lmi_runtime", "aws-lambda-powertools"], load_before),
            "costs": {name: [asdict(cost) for cost in pair] for name, pair in costs.items()},
            "targets": [asdict(target) for target in targets],
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if arguments.check and not all(target.reached for target in targets) else 0


def _with_and_without(python: Python, code: str, rounds: int) -> tuple[Cost, Cost]:
    # The runtime has imported all of this anyway.
    runtime = "import lmi_runtime.bootstrap.worker, lmi_runtime.integrations.safety as safety"
    plain, safe = time_codes(
        python, rounds, f"{runtime}; {code}", f"{runtime}; safety.make_safe(); {code}"
    )
    return plain, safe


if __name__ == "__main__":
    sys.exit(main())
