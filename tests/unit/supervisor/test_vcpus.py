"""Which source decides how many vCPUs there are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.model import Settings
from lmi_runtime.supervisor.vcpus import CpuReadings, decide_vcpus, detect_vcpus, read_cpus

SETTINGS = Settings(handler="app.handler", runtime_api="127.0.0.1:1")


def managed(memory_mb: int | None = None, vcpus: int | None = None) -> Settings:
    return Settings(
        handler="app.handler",
        runtime_api="127.0.0.1:1",
        max_concurrency=16,
        memory_mb=memory_mb,
        vcpus=vcpus,
    )


@pytest.mark.parametrize(
    ("readings", "count", "words"),
    [
        (CpuReadings(), 1, "no source"),
        (CpuReadings(override=7, quota=1.0, affinity=2), 7, "LMI_VCPUS"),
        (CpuReadings(quota=2.9, affinity=8, machine=8), 2, "quota of 2.9 CPUs"),
        (CpuReadings(quota=0.25, affinity=8), 1, "quota of 0.25 CPUs"),
        (CpuReadings(quota=16.0, affinity=4, machine=32), 4, "may run on"),
        (CpuReadings(memory_mb=4096, affinity=8), 2, "4096 MiB"),
        (CpuReadings(memory_mb=6143, affinity=8), 2, "6143 MiB"),
        (CpuReadings(memory_mb=512, affinity=8), 1, "512 MiB"),
        (CpuReadings(memory_mb=32768, affinity=4), 4, "may run on"),
        (CpuReadings(machine=3), 3, "the machine"),
        (CpuReadings(quota=2.0, affinity=2, machine=2), 2, "quota"),  # a tie names the cause
    ],
)
def test_the_smallest_bound_decides(readings: CpuReadings, count: int, words: str) -> None:
    it = decide_vcpus(readings)

    assert it.count == count
    assert words in it.explain()


bounds = st.none() | st.integers(1, 512)


@given(
    quota=st.none() | st.floats(0.01, 512),
    affinity=bounds,
    machine=bounds,
    memory_mb=st.none() | st.integers(128, 32768),
)
def test_a_count_is_at_least_one_and_above_no_bound(
    quota: float | None, affinity: int | None, machine: int | None, memory_mb: int | None
) -> None:
    it = decide_vcpus(
        CpuReadings(quota=quota, affinity=affinity, machine=machine, memory_mb=memory_mb)
    )

    limits = [quota, affinity, machine, None if memory_mb is None else memory_mb / 2048]
    assert it.count >= 1
    assert all(limit is None or it.count <= max(1, limit) for limit in limits)


def test_memory_says_nothing_outside_of_managed_instances(tmp_path: Path) -> None:
    assert read_cpus(managed(memory_mb=4096), root=tmp_path).memory_mb == 4096
    classic = Settings(handler="a.b", runtime_api="", memory_mb=4096)
    assert read_cpus(classic, root=tmp_path).memory_mb is None


def cgroups(root: Path, membership: str, **files: str) -> Path:
    """A `/proc/self/cgroup` and files below `/sys/fs/cgroup`; `__` stands for `/`."""
    proc = root / "proc/self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text(membership)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_cgroup_2_takes_the_tightest_limit_on_the_way_up(tmp_path: Path) -> None:
    root = cgroups(
        tmp_path,
        "0::/a/b\n",
        a__b__cpuDOTmax="max 100000\n",
        a__cpuDOTmax="150000 100000\n",
        cpuDOTmax="400000 100000\n",
    )

    assert read_cpus(SETTINGS, root=root).quota == 1.5


def test_cgroup_2_of_a_container_that_sees_only_its_own(tmp_path: Path) -> None:
    root = cgroups(tmp_path, "0::/../../outside/me\n", cpuDOTmax="200000 100000\n")

    assert read_cpus(SETTINGS, root=root).quota == 2.0


def test_cgroup_1_reads_quota_and_period(tmp_path: Path) -> None:
    root = cgroups(
        tmp_path,
        "12:memory:/x\n3:cpu,cpuacct:/docker/x\n0::/\n",
        cpu__docker__x__cpuDOTcfs_quota_us="300000\n",
        cpu__docker__x__cpuDOTcfs_period_us="100000\n",
        cpu__cpuDOTcfs_quota_us="-1\n",
        cpu__cpuDOTcfs_period_us="100000\n",
    )

    assert read_cpus(SETTINGS, root=root).quota == 3.0


@pytest.mark.parametrize(
    "limit", ["max 100000", "", "nonsense", "-1 100000", "0 100000", "100000 0", "1 2 3"]
)
def test_what_cannot_be_read_sets_no_limit(tmp_path: Path, limit: str) -> None:
    root = cgroups(tmp_path, "0::/\nnot a line\n", cpuDOTmax=limit)

    assert read_cpus(SETTINGS, root=root).quota is None


def test_no_cgroups_at_all(tmp_path: Path) -> None:
    assert read_cpus(SETTINGS, root=tmp_path).quota is None


def test_this_machine_has_an_answer() -> None:
    it = detect_vcpus(SETTINGS)

    assert it.count >= 1
    assert it.explain().startswith(f"{it.count} vCPU")
    assert detect_vcpus(managed(vcpus=5)).count == 5
