"""
What a line of powertools' Logger costs once it is safe, over the plain one's.

Both write the same lines within a request, each in processes of its own that take turns. The
stream they write to drops them, so that what is measured is the Logger.

    python -m stress.bench.logger_lines [--count N] [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from lmi_runtime import context
from lmi_runtime.model import Invocation

__all__ = ["TARGET", "costs", "main", "ratios"]

TARGET = 1.15
"""What a line may cost, as a multiple of the plain one's."""

_BATCHES = 60
"""Of so many short ones in a process the fastest counts: what else the machine does only adds."""


class _Drop:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing."""


class _LambdaContext:
    function_name = "function"
    memory_limit_in_mb = 128
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:function"
    aws_request_id = "7f1f5b3e-0000-4000-8000-000000000000"


def costs(count: int) -> dict[str, float]:
    """CPU microseconds of each operation, with powertools as it is in this process."""
    from aws_lambda_powertools import Logger

    logger = Logger(service="bench", stream=_Drop())  # type: ignore[arg-type]
    request = context.Request(
        Invocation(
            request_id=_LambdaContext.aws_request_id,
            trace_id="Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        )
    )

    @logger.inject_lambda_context
    def handler(_: object, __: object) -> dict[str, float]:
        logger.append_keys(order_id="o-1", user="u-1", tenant="t-1")
        return {name: _fastest(call, count) for name, call in _operations(logger).items()}

    with context.serving(request):
        measured: dict[str, float] = handler({}, _LambdaContext())
    return measured


def _operations(logger: Any) -> dict[str, Callable[[], object]]:
    return {
        "line": lambda: logger.info("an order came in"),
        "line with keys of its own": lambda: logger.info("an order came in", items=3, total="9.90"),
        "line below the level": lambda: logger.debug("an order came in"),
        "append_keys": lambda: logger.append_keys(order_id="o-2"),
    }


def _fastest(call: Callable[[], object], count: int) -> float:
    spent_s = []
    for _ in range(_BATCHES):
        start_s = time.process_time()
        for _ in range(count):
            call()
        spent_s.append(time.process_time() - start_s)
    return min(spent_s) / count * 1e6


def ratios(
    safe: Sequence[dict[str, float]], plain: Sequence[dict[str, float]]
) -> dict[str, dict[str, float]]:
    """For each operation the medians of both, and of what one is of the other in a round."""
    return {
        name: {
            "safe_us": statistics.median(each[name] for each in safe),
            "plain_us": statistics.median(each[name] for each in plain),
            "ratio": statistics.median(
                ours[name] / theirs[name] for ours, theirs in zip(safe, plain, strict=True)
            ),
        }
        for name in plain[0]
    }


def _in_process(kind: str, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "stress.bench.logger_lines", kind, "--count", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _measure(count: int, rounds: int) -> dict[str, dict[str, float]]:
    safe: list[dict[str, float]] = []
    plain: list[dict[str, float]] = []
    for number in range(rounds):
        # Neither is always the first: a machine may get slower as it gets warm.
        for kind in ("safe", "plain") if number % 2 else ("plain", "safe"):
            (safe if kind == "safe" else plain).append(_in_process(kind, count))
    return ratios(safe, plain)


def main(argv: list[str] | None = None) -> int:
    """Returns 1 where a line costs more than `TARGET`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("kind", nargs="?", choices=["safe", "plain"], help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=100, help="operations a batch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.kind:
        if arguments.kind == "safe":
            _make_safe()
        print(json.dumps(costs(arguments.count)))
        return 0
    found = _measure(arguments.count, arguments.rounds)
    print(json.dumps(found) if arguments.json else _table(found))
    return 0 if found["line"]["ratio"] <= TARGET else 1


def _make_safe() -> None:
    from lmi_runtime.integrations import make_safe

    make_safe()


def _table(found: dict[str, dict[str, float]]) -> str:
    head = f"{'CPU, Python ' + sys.version.split()[0]:<28}{'plain':>10}{'safe':>10}{'ratio':>8}"
    rows = [
        f"{name:<28}{row['plain_us']:>7.2f} us{row['safe_us']:>7.2f} us{row['ratio']:>8.2f}"
        for name, row in found.items()
    ]
    return "\n".join([head, *rows])


if __name__ == "__main__":
    sys.exit(main())
