"""What may not grow: memory, threads, file descriptors, tasks. The judging is pure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stress.bench.processes import parse_rollup

__all__ = ["Vitals", "growth", "read_vitals", "session_pids"]

_THREAD_BYTES = 512 * 1024
"""What a thread takes and keeps: its stack and its part of the heap. `threads` bounds them."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """
    One reading of a runtime that has nothing to do.

    Attributes:
        answered: Calls answered before.
        pids: Its processes.
        rss_bytes: Their resident memory.
        threads: Their threads.
        fds: Their open file descriptors.
        tasks: Tasks on their event loops that have not ended.
    """

    answered: int
    pids: tuple[int, ...]
    rss_bytes: int
    threads: int
    fds: int
    tasks: int


def growth(
    readings: Sequence[Vitals], *, rss_tolerance: float, threads: int, fds: int
) -> list[str]:
    """
    Say what has grown between the first reading, after the warm-up, and the last.

    Args:
        readings: In the order they were taken.
        rss_tolerance: Share by which memory may differ.
        threads: How many the runtime may start at all for its slots; they stay.
        fds: The same for connections.
    """
    first, last = readings[0], readings[-1]
    more_threads = max(0, last.threads - first.threads)
    memory = first.rss_bytes * (1 + rss_tolerance) + more_threads * _THREAD_BYTES
    complaints = []
    if last.pids != first.pids:
        complaints.append(f"processes were replaced: {first.pids}, then {last.pids}")
    if last.rss_bytes > memory:
        share = last.rss_bytes / first.rss_bytes - 1
        complaints.append(f"memory grew by {share:.1%}: {first.rss_bytes} to {last.rss_bytes}")
    if last.tasks > first.tasks:
        complaints.append(f"tasks grew from {first.tasks} to {last.tasks}")
    for name, limit in (("threads", threads), ("fds", fds)):
        before, after = getattr(first, name), getattr(last, name)
        if after > max(before, limit):
            complaints.append(f"{name} grew from {before} to {after}; {limit} are needed at most")
    return complaints


def read_vitals(pids: Sequence[int], *, answered: int, tasks: int) -> Vitals:
    """Read ``/proc`` for *pids*; the rest is known to the caller."""
    return Vitals(
        answered=answered,
        pids=tuple(sorted(pids)),
        rss_bytes=sum(_rss_bytes(pid) for pid in pids),
        threads=sum(len(os.listdir(f"/proc/{pid}/task")) for pid in pids),
        fds=sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
        tasks=tasks,
    )


def session_pids(leader: int) -> list[int]:
    """Return the processes of the session that *leader* started, zombies left out."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return sorted(pid for pid in pids if _session(pid) == leader)


def _session(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # ended meanwhile
        return None
    return None if fields[0] == "Z" else int(fields[3])


def _rss_bytes(pid: int) -> int:
    return parse_rollup(Path(f"/proc/{pid}/smaps_rollup").read_text())["Rss"]
