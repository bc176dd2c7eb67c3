"""The end of an environment, in the order in which the platform ends it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from lmi_runtime.emulator import Emulator, EmulatorOptions
from tests.support.patience import PATIENCE_S
from tests.support.repository import REPOSITORY
from tests.system.runtime.environments import FUNCTIONS, Embedded, Runtime

pytestmark = pytest.mark.system

Start = Callable[..., Any]
Make = Callable[..., Runtime]

# Whoever is not the platform ends it while the platform still counts on it.
BEHIND_THE_PLATFORMS_BACK = ("abandoned-poll",)


def hooks_run(runtime: Runtime) -> dict[int, list[str]]:
    """Which hooks each process has run, in order."""
    run: dict[int, list[str]] = {}
    for record in runtime.records(logger="function"):
        name, hook, _, pid = record["message"].split()
        assert hook == "hook"
        run.setdefault(int(pid), []).append(name)
    return run


def test_every_worker_runs_its_hooks_latest_first(kind: Make, start: Start) -> None:
    runtime = start(kind, "hooks.main", slots=4, vcpus=2, ready=4)
    workers = runtime.pids()[1:]

    code = runtime.stop()

    assert hooks_run(runtime) == {pid: ["first", "last"] for pid in workers}
    if runtime.kind == "embedded":
        assert code == 0
    assert runtime.records(message="Stopping all workers", cause="a signal")
    assert not runtime.records(level="ERROR")


def test_a_process_of_classic_lambda_runs_its_hooks(start: Start) -> None:
    runtime = start(Embedded, "hooks.main", slots=None, env={"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    runtime.check(forgiven=BEHIND_THE_PLATFORMS_BACK)
    [pid] = runtime.pids()

    os.kill(pid, signal.SIGTERM)

    assert runtime.wait_exited() == 0
    runtime.wait_for(message=f"last hook of {pid}")
    assert hooks_run(runtime) == {pid: ["first", "last"]}


@pytest.mark.parametrize("hang", ["task", "thread"])
def test_a_hook_that_hangs_is_cut_and_named(start: Start, hang: str) -> None:
    runtime = start(Embedded, "hooks.main", env={"HANG": hang, "LMI_SHUTDOWN_S": "3"})

    code = runtime.stop()

    assert code == 0
    line = runtime.wait_for(level="WARNING", logger="lmi_runtime.handlers.lifecycle")
    # Those that wait for the one that hangs are named with it.
    assert line["message"].endswith("s: middle, last")


def test_what_is_in_flight_is_over_for_its_caller_and_hooks_run_all_the_same(
    kind: Make, start: Start
) -> None:
    # What is in flight gets four ninths of it. AWS's emulator leaves 600 ms, and not more.
    env = {"LMI_SHUTDOWN_S": "3"} if kind is Embedded else {}
    runtime = start(kind, "hooks.main", slots=2, env=env)
    held = runtime.call_soon("hold", "held")
    runtime.wait_for(message="holding", requestId="held")

    code = runtime.stop()

    reply = held.result(PATIENCE_S)
    assert (reply.status, reply.error_type) == (400, "Client.ExecutionEnvironmentShutDown")
    assert code in (0, None)
    assert [r for r in runtime.records(logger="function") if r["message"].startswith("last hook")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_supervisor_alone_stops_everything(start: Start, number: int) -> None:
    runtime = start(Embedded, "hooks.main", slots=2, vcpus=2, ready=2)
    runtime.check(forgiven=BEHIND_THE_PLATFORMS_BACK)
    supervisor, *workers = runtime.pids()

    os.kill(supervisor, number)

    assert runtime.wait_exited() == 0
    assert hooks_run(runtime).keys() == set(workers)
    assert runtime.pids() == []


def test_the_runtime_leaves_when_the_platform_hangs_up() -> None:
    """Nobody is left to answer to; a process that polls for ever would only cost money."""

    async def serve_and_vanish() -> tuple[int | None, str]:
        async with Emulator(EmulatorOptions(max_concurrency=2)) as emulator:
            env = {
                "AWS_LAMBDA_RUNTIME_API": emulator.runtime_api,
                "AWS_LAMBDA_MAX_CONCURRENCY": "2",
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(REPOSITORY),
            }
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "lmi_runtime", "hooks.main"),
                env=env,
                cwd=FUNCTIONS,
                stdout=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await emulator.wait_ready(polls=2)
                    await emulator.close()
                    out, _ = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
        return process.returncode, out.decode()

    code, told = asyncio.run(serve_and_vanish())

    assert code == 0
    [line] = [line for line in told.splitlines() if "Stopping all workers" in line]
    assert json.loads(line)["cause"] == "the platform hung up"
