"""What the benchmarks read from the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from stress.bench.processes import Stat, age_s, cpu_s, parse_rollup, parse_stat, read_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="not run: there is no /proc")

ROLLUP = """\
55a4cfd3e000-7ffd1dd9b000 ---p 00000000 00:00 0                          [rollup]
Rss:                1640 kB
Pss:                 190 kB
Pss_Anon:             96 kB
"""


def test_sizes_of_a_rollup_are_bytes() -> None:
    assert parse_rollup(ROLLUP) == {
        "Rss": 1640 * 1024,
        "Pss": 190 * 1024,
        "Pss_Anon": 96 * 1024,
    }


def test_stat_is_read_behind_a_name_that_holds_brackets_and_spaces() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    # After the state: utime is the 12th field, then stime, cutime, cstime; the start is the 20th.
    fields = ["S", *["0"] * 12, str(3 * ticks), str(ticks), *["0"] * 4, str(50 * ticks), "0"]

    stat = parse_stat(f"42 (a) b) {' '.join(fields)}")

    assert stat == Stat(started_s=50.0, reaped_cpu_s=4.0)


def test_memory_of_two_processes_is_added_up() -> None:
    me = os.getpid()

    one, two = read_memory([me]), read_memory([me, me])

    assert two.processes == 2
    assert two.rss_bytes >= one.rss_bytes * 1.8
    assert one.rss_bytes >= one.pss_bytes >= one.anonymous_bytes > 0


def test_cpu_time_counts_a_child_that_has_been_reaped() -> None:
    before_s = cpu_s([os.getpid()])
    burn = "import time\nwhile time.process_time() < 0.1: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)

    assert cpu_s([os.getpid()]) - before_s >= 0.08  # the kernel counts in ticks of 10 ms


def test_age_is_that_of_the_oldest_process() -> None:
    begin_s = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        young_s = age_s([child.pid])
        most_s = time.monotonic() - begin_s
        mine_s = age_s([os.getpid()])
        both_s = age_s([child.pid, os.getpid()])
        child.kill()

    assert -0.02 <= young_s <= most_s + 0.02  # the kernel counts in ticks of 10 ms
    assert mine_s <= both_s <= age_s([os.getpid()])
    assert both_s > young_s
    assert time.clock_gettime(time.CLOCK_BOOTTIME) > both_s
