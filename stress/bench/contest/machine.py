"""What everything was measured on, and with."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version

__all__ = ["describe", "missing"]


def describe(distributions: Iterable[str], load_before: float) -> dict[str, object]:
    """
    Tell versions, cores and load.

    Args:
        distributions: Packages whose versions matter.
        load_before: Load average before anything was measured; above one on two cores, figures
            are those of a busy machine.
    """
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "free_threaded": not getattr(sys, "_is_gil_enabled", lambda: True)(),
        "kernel": platform.release(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average_before": load_before,
        "load_average_after": os.getloadavg()[0],
        "packages": {name: _version(name) for name in sorted(distributions)},
    }


def missing(needs: Mapping[str, str]) -> dict[str, str]:
    """Of contenders and the modules they need, return those whose module is not installed."""
    return {
        name: module
        for name, module in needs.items()
        if module and importlib.util.find_spec(module) is None
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
