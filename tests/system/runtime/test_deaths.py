"""Workers that die: their callers hear at once, others go on, and somebody takes their place."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.patience import PATIENCE_S
from tests.system.runtime.environments import Runtime

pytestmark = pytest.mark.system

Start = Callable[..., Any]
Make = Callable[..., Runtime]

DEAD_WORKERS_POLLS = ("abandoned-poll",)


@pytest.fixture
def runtime(kind: Make, share: Start) -> Runtime:
    """Two workers, of two slots each; nobody polls for a dead one."""
    shared: Runtime = share(kind, "tasks.main", slots=4, vcpus=2, ready=4)
    shared.check(forgiven=DEAD_WORKERS_POLLS)
    return shared


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({"do": "exit_now", "code": 0}, "exited with code 0 although nobody asked it to"),
        ({"do": "exit_now", "code": 7}, "exited with code 7"),
        ({"do": "kill"}, "was killed by SIGKILL"),
        ({"do": "segfault"}, "was killed by SIGSEGV"),
    ],
    ids=["exit-0", "exit-7", "killed", "segfault"],
)
def test_a_worker_that_ends_itself_fails_its_caller_and_is_replaced(
    runtime: Runtime, event: Any, why: str
) -> None:
    supervisor, *workers = runtime.pids()

    reply = runtime.call_until_served(event)

    assert reply.error_type == "Runtime.ExitError"
    body: Any = reply.json()
    assert body["errorType"] == "ExitError"
    assert body["errorMessage"].startswith(f"The worker process {why}")
    line = runtime.wait_for(lambda line: line["message"].startswith(f"A worker {why}"))
    assert (line["level"], line["inFlight"]) == ("ERROR", 1)
    assert line["pid"] in workers
    check_recovers(runtime, supervisor, {line["pid"]})


def check_recovers(runtime: Runtime, supervisor: int, dead: set[int]) -> None:
    """Calls are served again, by as many workers as before."""
    give_up_s = time.monotonic() + PATIENCE_S
    seen: set[int] = set()
    while set(runtime.pids()) != {supervisor, *seen} or len(seen) != 2:
        assert time.monotonic() < give_up_s, (supervisor, seen, runtime.pids(), runtime.lines())
        seen.add(runtime.call_until_served({"do": "identity"}).json()["pid"])
        seen &= set(runtime.pids())
    assert not seen & dead


def test_all_who_wait_for_a_dead_worker_are_told_and_nobody_else(kind: Make, start: Start) -> None:
    runtime = start(kind, "tasks.main", slots=4, vcpus=2, ready=4)
    runtime.check(forgiven=DEAD_WORKERS_POLLS)
    supervisor, victim, _ = runtime.pids()
    calls = {f"held-{n}": runtime.call_soon({"do": "hold"}, f"held-{n}") for n in range(4)}
    places = {name: runtime.wait_for(message="holding", requestId=name)["pid"] for name in calls}
    its_own = {name for name, pid in places.items() if pid == victim}

    os.kill(victim, signal.SIGKILL)

    assert runtime.wait_for(pid=victim, level="ERROR")["inFlight"] == len(its_own)
    for name in its_own:
        assert calls[name].result(PATIENCE_S).error_type == "Runtime.ExitError"
    check_recovers(runtime, supervisor, {victim})
    others = calls.keys() - its_own
    assert not any(calls[name].done() for name in others)
    while not all(calls[name].done() for name in others):
        runtime.call_until_served({"do": "release"})
    assert {calls[name].result().json() for name in others} == {"let go"}


def test_a_process_of_a_sync_handler_is_replaced_too(kind: Make, share: Start) -> None:
    runtime = share(kind, "threads.alone")
    runtime.wait_ready(2)
    runtime.check(forgiven=DEAD_WORKERS_POLLS)
    before = runtime.pids()

    reply = runtime.call({"do": "exit_now", "code": 3})

    assert reply.error_type == "Runtime.ExitError"
    while True:
        pid = runtime.call_until_served({"do": "identity"}).json()["pid"]
        if pid not in before:
            break
