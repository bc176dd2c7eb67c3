"""
One measurement in this process.

    python -m stress.bench.contest.worker MODULE MEASURE CONTENDER OPTIONS

The last line on standard output is what was read, as JSON.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import traceback
import warnings
from dataclasses import dataclass, field

__all__ = ["Reading", "main"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a measurement gives back: figures by metric, and series that are drawn."""

    figures: dict[str, float]
    series: dict[str, list[float]] = field(default_factory=dict)


def main(module: str, measure: str, contender: str, options: str) -> None:
    """Measure, print, and leave without waiting for threads that a contender has left behind."""
    # Threads and forks are the matter here, and every library gets to do both.
    warnings.simplefilter("ignore", DeprecationWarning)
    logging.disable(logging.CRITICAL)
    try:
        measures = importlib.import_module(module).MEASURES
        reading = measures[measure](contender, **json.loads(options))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    print(f"\n{json.dumps({'figures': reading.figures, 'series': reading.series})}", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
