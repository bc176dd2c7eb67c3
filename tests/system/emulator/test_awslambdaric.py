"""AWS's own Python client, in real processes, inside the embedded environment."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from lmi_runtime.emulator import (
    Clock,
    Emulator,
    EmulatorOptions,
    LoadOptions,
    LocalEnvironment,
    run_load,
)
from tests.support.patience import PATIENCE_S

pytestmark = [pytest.mark.anyio, pytest.mark.system, pytest.mark.slow]

APP = """
import os, time

def handler(event, context):
    print("seen", event)
    if event == "raise":
        raise ValueError("boom")
    if event == "wait":
        while not os.path.exists("enough"):
            time.sleep(0.01)
    if event == "die":
        os._exit(3)
    return {"event": event, "id": context.aws_request_id, "pid": os.getpid()}
"""
COMMAND = [sys.executable, "-m", "awslambdaric", "app.handler"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def environment(folder: Path, **settings: Any) -> AsyncIterator[LocalEnvironment]:
    (folder / "app.py").write_text(settings.pop("app", APP))
    options = EmulatorOptions(max_concurrency=4, timeout_s=settings.pop("timeout_s", 600.0))
    emulator = Emulator(options, clock=settings.pop("clock", None) or Clock())
    async with LocalEnvironment(COMMAND, emulator=emulator, cwd=folder, **settings) as local:
        yield local


async def invoke(emulator: Emulator, event: object) -> Any:
    answer = await emulator.invoke(json.dumps(event).encode())
    return json.loads(answer.body)


async def test_four_workers_serve_and_keep_every_rule(tmp_path: Path) -> None:
    async with environment(tmp_path) as local:
        emulator = local.emulator
        await emulator.wait_ready(polls=4)
        answers = await asyncio.gather(*(invoke(emulator, n) for n in range(4)))
        await emulator.wait_ready(polls=4)

        assert [answer["event"] for answer in answers] == [0, 1, 2, 3]
        assert len({answer["pid"] for answer in answers}) == 4
        emulator.assert_clean()


async def test_exception_reaches_the_caller(tmp_path: Path) -> None:
    async with environment(tmp_path) as local:
        answer = await local.emulator.invoke(b'"raise"')

        assert answer.error_type == "Runtime.Unknown"
        assert json.loads(answer.body)["errorType"] == "ValueError"


async def test_late_answer_of_a_timed_out_handler_is_refused_and_the_worker_goes_on(
    tmp_path: Path,
) -> None:
    now_s = 0.0
    async with environment(tmp_path, clock=Clock(monotonic_s=lambda: now_s)) as local:
        emulator = local.emulator
        await emulator.wait_ready(polls=4)
        call = asyncio.create_task(emulator.invoke(b'"wait"'))
        await emulator.wait_until(lambda now: now.running == 1)
        now_s = 600.0
        emulator.expire()
        assert (await call).error_type == "Sandbox.Timedout"
        (tmp_path / "enough").touch()
        await emulator.wait_ready(polls=4)

        emulator.assert_clean()


async def test_dead_worker_costs_its_caller_the_time_out(tmp_path: Path) -> None:
    async with environment(tmp_path, timeout_s=0.5) as local:
        await local.emulator.wait_ready(polls=4)

        assert (await local.emulator.invoke(b'"die"')).error_type == "Sandbox.Timedout"
        assert local.returncode is None


async def test_load_from_outside_is_served(tmp_path: Path) -> None:
    async with environment(tmp_path) as local:
        await local.emulator.wait_ready(polls=4)
        report = await run_load(local.emulator.url, LoadOptions(concurrency=2, requests=50))
        await local.emulator.wait_ready(polls=4)

        assert report.ok + report.refused == 50
        assert report.failed == 0
        local.emulator.assert_clean()


async def test_import_error_is_what_callers_get(tmp_path: Path) -> None:
    async with environment(tmp_path, app="import does_not_exist") as local:
        answer = await local.emulator.invoke(b"{}")

        assert answer.error_type == "Runtime.ImportModuleError"
        assert await local.wait_exited() == 0  # AWS's parent process has no opinion


async def test_killed_runtime_answers_its_callers_and_is_not_replaced(tmp_path: Path) -> None:
    async with environment(tmp_path) as local:
        await local.emulator.wait_ready(polls=4)
        calls = [asyncio.create_task(local.emulator.invoke(b'"wait"')) for _ in range(2)]
        await local.emulator.wait_until(lambda now: now.running == 2)
        os.kill(local.pid, signal.SIGKILL)

        assert [(await call).error_type for call in calls] == ["Runtime.ExitError"] * 2
        assert (await local.emulator.invoke(b"{}")).error_type == "Runtime.ExitError"


async def test_killed_runtime_is_replaced_if_asked_for(tmp_path: Path) -> None:
    async with environment(tmp_path, restart=True) as local:
        await local.emulator.wait_ready(polls=4)
        first = local.pid
        os.kill(first, signal.SIGKILL)
        await local.emulator.wait_until(lambda now: now.phase == "INIT")

        assert (await invoke(local.emulator, "again"))["event"] == "again"
        assert local.pid != first


async def test_every_worker_has_log_streams_of_its_own(tmp_path: Path) -> None:
    async with environment(tmp_path, telemetry=True) as local:
        await local.emulator.wait_ready(polls=4)
        await asyncio.gather(*(invoke(local.emulator, n) for n in range(4)))
        await local.emulator.wait_ready(polls=4)
        assert local.telemetry is not None

        assert local.telemetry.connections == 8
    assert len({line.source for line in local.log.lines if "seen" in line.text}) == 4


def is_running(process: psutil.Process) -> bool:
    """A zombie has ended; init takes it away when it likes."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def group_of(process: psutil.Process) -> int | None:
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(process.pid)
    return None


async def test_leaving_kills_the_whole_process_group(tmp_path: Path) -> None:
    async with environment(tmp_path) as local:
        await local.emulator.wait_ready(polls=4)
        group = local.pid
    # SIGKILL has been sent; orphans take the kernel a moment.
    deadline_s = time.monotonic() + PATIENCE_S
    while [p for p in psutil.process_iter() if is_running(p) and group_of(p) == group]:
        assert time.monotonic() < deadline_s, "a process of the group has survived"
        time.sleep(0.01)  # noqa: ASYNC251
    assert local.returncode == -signal.SIGKILL


async def test_command_that_does_not_exist_is_an_error_and_leaves_nothing_open(
    tmp_path: Path,
) -> None:
    before = psutil.Process().num_fds()
    with pytest.raises(FileNotFoundError):
        async with LocalEnvironment([str(tmp_path / "nothing")]):
            pytest.fail("it cannot have started")
    await asyncio.sleep(0)

    assert psutil.Process().num_fds() <= before
