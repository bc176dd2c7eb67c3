"""Pools and resources in a worker: what it is, and what it closes when it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.system.runtime.environments import Embedded, Runtime

pytestmark = pytest.mark.system

Start = Callable[..., Any]


def closed_by(runtime: Runtime, pid: int) -> list[str]:
    """What `pid` closed, in order."""
    lines = [record["message"] for record in runtime.records(logger="function")]
    return [line.split(" in ")[0] for line in lines if line.endswith(f" in {pid}")]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_worker_closes_what_it_opened_latest_first(start: Start, backend: str) -> None:
    runtime = start(
        Embedded, "lending.main", slots=4, vcpus=2, ready=4, env={"LMI_BACKEND": backend}
    )
    answer = json.loads(runtime.call("use").body)

    runtime.stop()

    assert (answer["settings"], answer["connection"]) == ("settings", "Connection")
    assert (answer["slots"], answer["processes"]) == (2, 2)
    assert closed_by(runtime, answer["pid"]) == [
        "client closed",
        "connection closed",
        "settings closed",
    ]


def test_threads_of_a_worker_use_what_needs_its_loop(start: Start) -> None:
    runtime = start(Embedded, "lending.in_threads", slots=2, vcpus=1, ready=2)

    answer = json.loads(runtime.call("use").body)

    assert answer["settings"] == "settings"
