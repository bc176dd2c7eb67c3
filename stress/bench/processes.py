"""What the kernel says about a set of processes: memory, CPU time, age. Linux only."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Memory", "age_s", "cpu_s", "parse_rollup", "parse_stat", "read_memory"]

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED = 2


@dataclass(frozen=True, slots=True)
class Memory:
    """
    The memory of some processes together.

    Attributes:
        processes: How many they are.
        rss_bytes: Resident memory, a shared page counted once for each of them.
        pss_bytes: The same with a shared page split among all who share it.
        anonymous_bytes: The part of `pss_bytes` that no file backs. Unlike the rest it does not
            depend on what else runs on the machine.
    """

    processes: int
    rss_bytes: int
    pss_bytes: int
    anonymous_bytes: int


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of ``/proc/PID/stat`` that are used here."""

    started_s: float
    reaped_cpu_s: float


def parse_rollup(text: str) -> dict[str, int]:
    """Return the sizes in ``/proc/PID/smaps_rollup`` by name, in bytes."""
    rows = (line.split() for line in text.splitlines()[1:])
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows}


def parse_stat(text: str) -> Stat:
    """Read ``/proc/PID/stat``; the name in it may hold spaces and brackets."""
    fields = text.rpartition(")")[2].split()
    reaped = int(fields[13]) + int(fields[14])
    return Stat(started_s=int(fields[19]) / _TICKS_PER_S, reaped_cpu_s=reaped / _TICKS_PER_S)


def read_memory(pids: Iterable[int]) -> Memory:
    """Add up what *pids* use now."""
    rollups = [parse_rollup(Path(f"/proc/{pid}/smaps_rollup").read_text()) for pid in pids]
    return Memory(
        processes=len(rollups),
        rss_bytes=sum(one["Rss"] for one in rollups),
        pss_bytes=sum(one["Pss"] for one in rollups),
        anonymous_bytes=sum(one["Pss_Anon"] for one in rollups),
    )


def cpu_s(pids: Iterable[int]) -> float:
    """
    Add up the CPU seconds, user and system, that *pids* and their reaped children have used.

    A child that ends between two readings moves from the first part to the second, so the
    difference of two readings misses nothing.
    """
    return sum(_own_cpu_s(pid) + _stat(pid).reaped_cpu_s for pid in pids)


def age_s(pids: Iterable[int]) -> float:
    """Return the seconds since the first of *pids* was started; right to 10 ms."""
    started_s = min(_stat(pid).started_s for pid in pids)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s


def _stat(pid: int) -> Stat:
    return parse_stat(Path(f"/proc/{pid}/stat").read_text())


def _own_cpu_s(pid: int) -> float:
    # The clock that clock_getcpuclockid(3) names: nanoseconds, where /proc has ticks of 10 ms.
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
