"""How many processes a runtime has, and how much memory they take together."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

__all__ = ["Footprint", "measure"]


@dataclass(frozen=True, slots=True)
class Footprint:
    """
    A reading of a process and its descendants.

    Attributes:
        processes: How many there are.
        rss_mb: Sum of their resident sets in MiB; shared pages count once for each process.
        pss_mb: The same with shared pages split among their users, or None where the system
            does not say.
    """

    processes: int
    rss_mb: float
    pss_mb: float | None


def measure(pid: int) -> Footprint:
    """Read the process tree under `pid`; what ends meanwhile is left out."""
    rss, pss, count = 0, 0, 0
    says_pss = True
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        processes = []
    for process in processes:
        try:
            memory = process.memory_full_info()
        except psutil.Error:
            continue
        count += 1
        rss += memory.rss
        says_pss = says_pss and hasattr(memory, "pss")
        pss += getattr(memory, "pss", 0)
    return Footprint(count, _mib(rss), _mib(pss) if says_pss else None)


def _mib(size_bytes: int) -> float:
    return round(size_bytes / 2**20, 1)
