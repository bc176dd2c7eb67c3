"""
What `make_safe` costs a start: of functions that import powertools, and of those that do not.

    python -m stress.bench.safety [--rounds N] [--json FILE] [--check]

What is timed is ours alone, within processes that import what such functions do: the import of the
room, `make_safe`, and each change as it is made. Between whole processes, with and without, the
difference is lost in what their imports take.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from stress.bench.contest.machine import describe
from stress.bench.contest.tables import render_targets
from stress.bench.contest.tally import at_most
from stress.bench.footprint import Python

__all__ = ["FUNCTIONS", "cost_ms", "main"]

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

_TIMED = """
import sys, time
import lmi_runtime.dispatch, lmi_runtime.handlers, lmi_runtime.logs, lmi_runtime.rapi
import lmi_runtime.supervisor, lmi_runtime.pools.registry
spent_s, depth = 0.0, 0
def timed(call):
    def run(*arguments):
        global spent_s, depth
        start_s, depth = time.thread_time(), depth + 1
        try:
            return call(*arguments)
        finally:
            depth -= 1
            if not depth:
                spent_s += time.thread_time() - start_s
    return run
def arm():
    from lmi_runtime.integrations import patching, safety
    patching._carried_out = timed(patching._carried_out)
    safety.make_safe()
timed(arm)()
{imports}
print(spent_s * 1000, file=sys.stderr)
"""
"""A change may import what another one waits for: that is counted once."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when ``--check`` finds a target missed."""
    parser = argparse.ArgumentParser(
        prog="python -m stress.bench.safety", description="What make_safe costs a start."
    )
    parser.add_argument("--rounds", type=int, default=15, help="processes of each function")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    arguments = parser.parse_args(argv)
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        python = Python(Path(folder))
        costs = {
            name: cost_ms(python, imports, arguments.rounds) for name, imports in FUNCTIONS.items()
        }
    targets = [
        at_most(f"make_safe, ms of CPU: {name}", cost, _MOST_MS) for name, cost in costs.items()
    ]
    print(render_targets(targets))
    if arguments.json:
        report = {
            "machine": describe(["lmi_runtime", "aws-lambda-powertools"], load_before),
            "costs_ms": costs,
            "targets": [asdict(target) for target in targets],
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if arguments.check and not all(target.reached for target in targets) else 0


def cost_ms(python: Python, imports: str, rounds: int) -> float:
    """CPU milliseconds that `make_safe` takes of a process with these imports: the median."""
    code = _TIMED.format(imports=imports)
    python.run("-c", code)  # once without counting: byte code is written
    return statistics.median(float(python.run("-c", code)) for _ in range(rounds))


if __name__ == "__main__":
    sys.exit(main())
