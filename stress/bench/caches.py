"""
Our cache beside others.

Contenders take turns, each measurement in a process of its own, so that one that hangs is named
and the others are measured. Figures are medians over the rounds; ratios are taken round by round.

    python -m stress.bench.caches [--measures PART...] [--contenders NAME...] [--rounds N]
        [--seconds S] [--json FILE] [--pictures DIR] [--check]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from stress.bench.caching.measures import OURS, ROUNDS, SHEETS, contenders_of, judge, needs
from stress.bench.caching.pictures import draw
from stress.bench.contest.bench import Bench, run_bench

__all__ = ["main"]

_DISTRIBUTIONS = ("aiocache", "async-lru", "cachebox", "cachetools", "diskcache", "lmi_runtime")


def main(argv: Sequence[str] | None = None) -> int:
    """See the module."""
    bench = Bench(
        program="stress.bench.caches",
        about="Our cache beside others.",
        module="stress.bench.caching.measures",
        ours=OURS,
        sheets=SHEETS,
        contenders_of=contenders_of,
        needs=needs(),
        distributions=_DISTRIBUTIONS,
        options=_options,
        limit_s=_limit_s,
        rounds=ROUNDS,
        judge=judge,
        draw=draw,
    )
    return run_bench(bench, argv)


def _options(measure: str, contender: str, arguments: argparse.Namespace) -> Mapping[str, float]:
    return {"seconds": arguments.seconds} if measure.startswith("hits") else {}


def _limit_s(options: Mapping[str, float]) -> float:
    # A stampede that hangs gives up by itself, three times, and is told with what it did before.
    return 60.0 + options.get("seconds", 0.0) * 4


if __name__ == "__main__":
    sys.exit(main())
