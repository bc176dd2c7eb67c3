"""What happens twice: a second signal, a second import."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.system.runtime.environments import Embedded

pytestmark = pytest.mark.system

Start = Callable[..., Any]

SLOW_HOOK = """
import anyio
from lmi_runtime import handler, on_shutdown

@on_shutdown
async def bye():
    print("the hook begins")
    try:
        await anyio.sleep(0.05)
    finally:  # in time or not, but not killed
        print("the hook ends")

@handler
async def main(event, context):
    return "served"
"""

CHANGES_WHAT_IT_FINDS = """
import os, threading

secret = os.environ.pop("SECRET")
os.chdir("/")
threading.Thread(target=threading.Event().wait, daemon=True).start()

async def main(event, context):
    return [secret, os.environ.get("SECRET")]
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("slots", [1, None], ids=["managed", "classic"])
def test_a_second_signal_does_not_end_the_hooks(
    start: Start, tmp_path: Path, slots: int | None, backend: str
) -> None:
    (tmp_path / "slow.py").write_text(SLOW_HOOK)
    runtime = start(
        Embedded,
        "slow.main",
        slots=slots,
        folder=tmp_path,
        env={"LMI_BACKEND": backend, "AWS_LAMBDA_LOG_FORMAT": "JSON"},
    )
    runtime.check(forgiven=("abandoned-poll",))
    pid = runtime.pids()[-1]

    os.kill(pid, signal.SIGTERM)
    runtime.wait_for(message="the hook begins")
    with contextlib.suppress(ProcessLookupError):  # it has ended already
        os.kill(pid, signal.SIGTERM)

    runtime.wait_for(message="the hook ends")


def test_a_module_that_is_imported_again_finds_what_it_found_before(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "changes.py").write_text(CHANGES_WHAT_IT_FINDS)

    runtime = start(Embedded, "changes.main", folder=tmp_path, env={"SECRET": "kept"})

    assert runtime.call().json() == ["kept", None]
