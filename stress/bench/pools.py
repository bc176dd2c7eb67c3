"""
Our pool beside others, with connections that go nowhere.

Contenders take turns, each measurement in a process of its own, so that one that hangs is named
and the others are measured. Figures are medians over the rounds; ratios are taken round by round.

    python -m stress.bench.pools [--measures PART...] [--contenders NAME...] [--rounds N]
        [--seconds S] [--storms N] [--json FILE] [--pictures DIR] [--check]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from stress.bench.contest.bench import Bench, run_bench
from stress.bench.pooling.measures import NEEDS, OURS, ROUNDS, SHEETS, contenders_of, judge
from stress.bench.pooling.pictures import draw

__all__ = ["main"]

_DISTRIBUTIONS = (
    "anyio",
    "connpool",
    "lmi_runtime",
    "psycopg",
    "psycopg-pool",
    "redis",
    "sqlalchemy",
)
_STORM_S = 0.15
_FORKS = 40


def main(argv: Sequence[str] | None = None) -> int:
    """See the module."""
    bench = Bench(
        program="stress.bench.pools",
        about="Our pool beside others, with connections that go nowhere.",
        module="stress.bench.pooling.measures",
        ours=OURS,
        sheets=SHEETS,
        contenders_of=contenders_of,
        needs=NEEDS,
        distributions=_DISTRIBUTIONS,
        options=_options,
        rounds=ROUNDS,
        judge=judge,
        draw=draw,
        limit_s=_limit_s,
        more=_more,
    )
    return run_bench(bench, argv)


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--storms", type=int, default=20, help="of each kind (default: 20)")


def _options(measure: str, contender: str, arguments: argparse.Namespace) -> Mapping[str, float]:
    if measure.startswith("storm"):
        return {"seconds": _STORM_S, "storms": arguments.storms}
    if measure.startswith("burst"):
        return {}
    if measure == "forks":
        return {"count": _FORKS}
    return {"seconds": arguments.seconds}


def _limit_s(options: Mapping[str, float]) -> float:
    # A storm takes its length, and as long again several times when it leaves something behind.
    return 30.0 + options.get("seconds", 0.0) * 4 + options.get("storms", 0.0) * 2


if __name__ == "__main__":
    sys.exit(main())
