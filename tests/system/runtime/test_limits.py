"""How many polls wait, and that a platform which keeps to its limit is never refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from lmi_runtime.emulator import LoadOptions, run_load
from tests.system.runtime.environments import Embedded, Runtime

pytestmark = pytest.mark.system

Start = Callable[..., Any]
Make = Callable[..., Runtime]


@pytest.mark.parametrize(
    ("handler", "slots", "vcpus", "workers"),
    [
        ("tasks.main", 5, 2, [3, 2]),
        ("threads.main", 5, 2, [3, 2]),
        ("threads.alone", 3, 2, [1, 1, 1]),
        ("tasks.limited", 32, 2, [2, 2]),
    ],
)
def test_slots_are_shared_out_exactly(
    start: Start, handler: str, slots: int, vcpus: int, workers: list[int]
) -> None:
    """The strict emulator would count one poll too many as a violation."""
    runtime = start(Embedded, handler, slots=slots, vcpus=vcpus, ready=sum(workers))

    assert runtime.statistics().waiting == sum(workers)
    assert len(runtime.pids()) == 1 + len(workers)
    runtime.wait_for(lambda line: line.get("slots") == workers)


@pytest.mark.parametrize(
    ("handler", "slots"),
    [("tasks.main", 1), ("tasks.main", 64), ("threads.main", 16)],
)
@pytest.mark.slow
def test_as_many_callers_as_slots_are_never_refused(
    kind: Make, start: Start, handler: str, slots: int
) -> None:
    vcpus = 2 if slots > 1 else 1
    # AWS's reads the next poll and the answer side by side: what comes within 0.1 ms of one
    # another, it may take in either order.
    pause_s = 0 if kind is Embedded else 0.02
    runtime = start(kind, handler, slots=slots, vcpus=vcpus, ready=slots)
    options = LoadOptions(
        concurrency=slots,
        requests=max(100, 10 * slots),
        event=json.dumps({"do": "pause", "seconds": pause_s}).encode(),
        warmup_requests=2 * slots,
    )

    report = asyncio.run(run_load(runtime.url, options))

    assert (report.refused, dict(report.failures)) == (0, {})
    assert report.ok == options.requests
