"""
How many vCPUs this environment has, and what says so. A pure core and a thin reading shell.

The smallest bound wins: a cgroup quota, the affinity mask and, on Lambda, the memory size each
limit what can run at once. `LMI_VCPUS` wins over all of them.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lmi_runtime.model import Settings

__all__ = ["CpuReadings", "VcpuCount", "decide_vcpus", "detect_vcpus", "read_cpus"]

_MIB_PER_VCPU = 2048
"""Managed Instances give a vCPU at least 2 GiB, so memory bounds the count from above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuReadings:
    """
    What could be found out. None where a source does not exist or sets no limit.

    Attributes:
        override: ``LMI_VCPUS``.
        quota: CPUs the cgroup may use, whole or not.
        affinity: CPUs this process may run on.
        machine: CPUs of the machine.
        memory_mb: Memory of the Lambda function in MiB.
    """

    override: int | None = None
    quota: float | None = None
    affinity: int | None = None
    machine: int | None = None
    memory_mb: int | None = None


@dataclass(frozen=True, slots=True)
class VcpuCount:
    """
    The answer.

    Attributes:
        count: Whole vCPUs, at least 1.
        source: What decided, in words.
    """

    count: int
    source: str

    def explain(self) -> str:
        """One sentence for the log and for people."""
        noun = "vCPU" if self.count == 1 else "vCPUs"
        return f"{self.count} {noun}, decided by {self.source}."


def decide_vcpus(readings: CpuReadings) -> VcpuCount:
    """Weigh `readings`: the override, else the smallest bound, rounded down but never below 1."""
    if readings.override is not None:
        return VcpuCount(max(1, readings.override), "LMI_VCPUS")
    bounds = list(_bounds(readings))
    if not bounds:
        return VcpuCount(1, "nothing: no source could be read")
    bound, source = min(bounds, key=lambda pair: pair[0])
    return VcpuCount(max(1, math.floor(bound)), source)


def detect_vcpus(settings: Settings) -> VcpuCount:
    """Read this machine and decide."""
    return decide_vcpus(read_cpus(settings))


def read_cpus(settings: Settings, *, root: Path = Path("/")) -> CpuReadings:
    """
    Read what the settings and the system say. Never raises: what cannot be read sets no limit.

    Args:
        settings: The memory size counts on Managed Instances only; elsewhere Lambda's ratio of
            memory to vCPUs is another one, and a laptop may say anything.
        root: Where ``/proc`` and ``/sys`` are looked for.
    """
    managed = settings.max_concurrency is not None
    return CpuReadings(
        override=settings.vcpus,
        quota=min(_quotas(root), default=None),
        affinity=_affinity(),
        machine=os.cpu_count(),
        memory_mb=settings.memory_mb if managed else None,
    )


def _bounds(readings: CpuReadings) -> Iterator[tuple[float, str]]:
    # In the order in which a tie is explained.
    if readings.quota is not None:
        yield readings.quota, f"the cgroup's quota of {readings.quota:g} CPUs"
    if readings.memory_mb is not None:
        size = f"the memory size of {readings.memory_mb} MiB, at 2048 MiB or more a vCPU"
        yield readings.memory_mb / _MIB_PER_VCPU, size
    if readings.affinity is not None:
        yield readings.affinity, "the CPUs this process may run on"
    if readings.machine is not None:
        yield readings.machine, "the CPUs of the machine"


def _affinity() -> int | None:
    if sys.platform != "linux":
        return None
    return len(os.sched_getaffinity(0))


def _quotas(root: Path) -> Iterator[float]:
    """Every CPU limit on the way from this process's cgroup up: each of them binds."""
    for controllers, path in _memberships(root):
        for mount in _mounts(root, controllers):
            for folder in _upwards(mount, path):
                quota = _quota(folder)
                if quota is not None:
                    yield quota


def _memberships(root: Path) -> Iterator[tuple[frozenset[str], str]]:
    """Lines of ``/proc/self/cgroup``: ``id:controllers:path``; v2 names no controllers."""
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        names = frozenset(filter(None, controllers.split(",")))
        if not names or "cpu" in names:
            yield names, path


def _mounts(root: Path, controllers: frozenset[str]) -> Iterable[Path]:
    base = root / "sys/fs/cgroup"
    if not controllers:
        return (base, base / "unified")
    return (base / "cpu", base / "cpu,cpuacct")


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    # A container often sees its own cgroup mounted at the top, under a path from outside; then
    # the folders below do not exist and only the mount itself answers.
    inside = PurePosixPath(path.lstrip("/"))
    if ".." in inside.parts:
        inside = PurePosixPath()
    yield mount / inside
    yield from (mount / parent for parent in inside.parents)


def _quota(folder: Path) -> float | None:
    text = _read(folder / "cpu.max")
    if text is None:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        text = f"{quota} {period}"
    try:
        limit_us, period_us = map(int, text.split())
    except ValueError:
        # "max", or files that are not there.
        return None
    return limit_us / period_us if limit_us > 0 and period_us > 0 else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return None
