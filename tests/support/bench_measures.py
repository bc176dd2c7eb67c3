"""Measurements that do what a benchmark has to survive."""

from __future__ import annotations

import os
import time

from stress.bench.contest.worker import Reading

__all__ = ["MEASURES"]


def _good(contender: str, seconds: float) -> Reading:
    print("a library that prints")
    return Reading({"seconds": seconds, "letters": len(contender)}, {"drawn": [1.0, 2.0]})


def _hangs(contender: str) -> Reading:
    # A child of its own that holds standard output open, as a forked one does that hangs.
    os.fork()
    time.sleep(600)
    raise AssertionError


def _raises(contender: str) -> Reading:
    raise ImportError(f"{contender} is broken")


def _dies(contender: str) -> Reading:
    os._exit(3)


MEASURES = {"good": _good, "hangs": _hangs, "raises": _raises, "dies": _dies}
