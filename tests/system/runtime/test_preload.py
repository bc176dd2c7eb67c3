"""The handler's module is imported once where that is safe, and says so where it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.patience import PATIENCE_S
from tests.system.runtime.environments import Embedded, Runtime

pytestmark = pytest.mark.system

Start = Callable[..., Any]
Make = Callable[..., Runtime]


def imports(runtime: Runtime) -> list[int]:
    """Process ids of those who imported the handler, as often as they did."""
    texts = [record["message"] for record in runtime.records(logger="stdout")]
    return [int(text.split()[-1]) for text in texts if text.startswith("imported by ")]


def test_an_ordinary_module_is_imported_once_for_all_workers(kind: Make, share: Start) -> None:
    runtime = share(kind, "tasks.main", slots=4, vcpus=2, ready=4)
    runtime.wait_for(lambda line: line["message"].startswith("imported by "))

    assert imports(runtime) == runtime.pids()[:1]


@pytest.mark.parametrize(
    ("left", "named"), [("thread", "1 running thread"), ("socket", "1 open socket")]
)
def test_a_module_that_a_fork_would_break_is_imported_by_each_worker(
    kind: Make, start: Start, left: str, named: str
) -> None:
    runtime = start(kind, "unsafe.main", slots=4, vcpus=2, env={"LEAVE": left}, ready=4)

    line = runtime.wait_for(level="WARNING", logger="lmi_runtime")
    assert line["message"].startswith(f"Importing unsafe.main left {named} behind")
    assert line["message"].endswith("at the cost of time and memory.")
    supervisor, *workers = runtime.pids()
    replies = [runtime.call_soon(n) for n in range(4)]
    assert {reply.result(PATIENCE_S).json() for reply in replies} <= set(workers)
    # Once to find out, and once in each worker; the exec in between keeps the process id.
    assert sorted(imports(runtime)) == sorted([supervisor, *workers])


def test_preloading_can_be_ruled_out(start: Start) -> None:
    runtime = start(Embedded, "tasks.main", slots=4, vcpus=2, env={"LMI_PRELOAD": "0"}, ready=4)

    runtime.wait_for(level="WARNING", message="LMI_PRELOAD=0: each worker imports the handler.")
    assert sorted(imports(runtime)) == sorted(runtime.pids())
    assert runtime.call({"a": 1}).json() == {"event": {"a": 1}}
