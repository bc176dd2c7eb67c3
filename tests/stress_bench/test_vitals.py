"""What counts as growth."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

import pytest

from stress.soaking.vitals import Vitals, growth, read_vitals, session_pids

FIRST = Vitals(answered=10, pids=(1, 2), rss_bytes=1000, threads=4, fds=10, tasks=6)


def complaints(**changes: Any) -> list[str]:
    readings = [FIRST, replace(FIRST, rss_bytes=9000), replace(FIRST, **changes)]
    return growth(readings, rss_tolerance=0.05, threads=8, fds=12)


def test_only_the_first_and_the_last_reading_count() -> None:
    assert complaints() == []


@pytest.mark.parametrize(
    "changes", [{"rss_bytes": 1050}, {"threads": 8}, {"fds": 12}, {"rss_bytes": 1}, {"tasks": 5}]
)
def test_what_is_within_bounds_is_no_growth(changes: dict[str, int]) -> None:
    assert complaints(**changes) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"rss_bytes": 1051}, "memory"),
        ({"threads": 9}, "threads"),
        ({"fds": 13}, "fds"),
        ({"tasks": 7}, "tasks"),
        ({"pids": (1, 3)}, "processes"),
    ],
)
def test_growth_is_named(changes: dict[str, Any], word: str) -> None:
    (complaint,) = complaints(**changes)

    assert word in complaint


def test_a_thread_that_is_kept_may_bring_its_own_memory() -> None:
    assert complaints(threads=6, rss_bytes=2 * 512 * 1024) == []
    assert complaints(threads=6, rss_bytes=2 * 512 * 1024 + 1051)
    assert complaints(threads=2, rss_bytes=1051)


@pytest.mark.skipif(sys.platform != "linux", reason="not run: there is no /proc")
def test_a_reading_sees_a_file_that_is_opened() -> None:
    me = os.getpid()
    before = read_vitals([me], answered=1, tasks=2)
    with open(os.devnull):
        after = read_vitals([me], answered=1, tasks=2)

    assert after.fds == before.fds + 1
    assert before.rss_bytes > 1_000_000
    assert before.threads >= 1
    assert me in session_pids(os.getsid(0))
