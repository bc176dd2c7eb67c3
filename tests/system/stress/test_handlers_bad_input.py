"""Handlers that cannot be explored: told why in a sentence, and quickly."""

from __future__ import annotations

import functools
import itertools
import math
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime.bootstrap import stressing
from lmi_runtime.bootstrap.stressing import StressOptions, stress_handler
from lmi_runtime.errors import ConfigurationError
from lmi_runtime.stress.model import Report, Verdict
from lmi_runtime.stress.program import RunOptions
from lmi_runtime.stress.subject import survey

pytestmark = pytest.mark.system

_numbers = itertools.count()
_SMALL = StressOptions(schedules=40, budget_s=math.inf)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What gives no sign of life for a second is given up."""
    monkeypatch.setattr(survey, "_FIRST_PATIENCE_S", 1.0)
    options = functools.partial(RunOptions, watchdog_s=1.0)
    monkeypatch.setattr(stressing, "RunOptions", options)


def _stress(root: Path, source: str, events: Any = ({"a": "b"},)) -> Report:
    module = f"bad_{next(_numbers)}"
    (root / f"{module}.py").write_text(source)
    return stress_handler(f"{module}.handler", events, _SMALL, task_root=root)


# ---------------------------------------------------------------------- never begun


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('no table')", "RuntimeError while it was imported: no table"),
        ("import no_such_library", "No module named 'no_such_library'"),
        ("def handler(event:", "Syntax error"),
        ("raise SystemExit(3)", "must not exit"),
        ("handler = 3", "type int, which cannot be called"),
        ("def other(event, context): ...", "Handler 'handler' missing"),
        ("def handler(): ...", "cannot be a handler"),
    ],
)
def test_a_module_without_a_handler(tmp_path: Path, source: str, said: str) -> None:
    with pytest.raises(Exception, match=r"bad_|handler") as caught:
        _stress(tmp_path, source)
    assert said in str(caught.value)


@pytest.mark.parametrize("events", [(), "text", b"bytes", [{1, 2}], [{}, object()]])
def test_events_that_are_none(tmp_path: Path, events: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"events"):
        _stress(tmp_path, "def handler(event, context): ...", events)


# ---------------------------------------------------------------------- inconclusive

_RESULT = "Object of type set is not JSON serializable"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def handler(e, c): return {1, 2}", _RESULT),
        ("async def handler(e, c): return {1, 2}", _RESULT),
        ("def handler(e, c): raise SystemExit(1)", "fails even alone"),
        ("def handler(e, c): return handler(e, c)", "RecursionError"),
        (
            "import socket\ndef handler(e, c): socket.create_connection(('127.0.0.1', 1), 0.1)",
            "ConnectionRefusedError",
        ),
        (
            "import subprocess\ndef handler(e, c): subprocess.run(['true'])",
            "starts another process, true",
        ),
        (
            "import asyncio\nasync def handler(e, c): await asyncio.create_subprocess_exec('true')",
            "real input or output",
        ),
        (
            "import os\n"
            "def handler(e, c):\n"
            "    child = os.fork()\n"
            "    if not child: os._exit(0)\n"
            "    os.waitpid(child, 0)",
            "forks a process",
        ),
        (
            "import os\nR, W = os.pipe()\ndef handler(e, c): os.read(R, 1)",
            "no sign of life",
        ),
        (
            "import asyncio\nasync def handler(e, c):\n    while True: await asyncio.sleep(0.1)",
            "endless loop",
        ),
    ],
)
@pytest.mark.usefixtures("impatient")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_is_not_under_control_is_said(tmp_path: Path, source: str, said: str) -> None:
    report = _stress(tmp_path, source)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.findings == ()
    assert any(said in each for each in report.coverage.uncontrolled), report.coverage


# ---------------------------------------------------------------------- hangs alone


@pytest.mark.parametrize(
    ("source", "oracle"),
    [
        ("import threading\nL = threading.Lock()\ndef handler(e, c): L.acquire(); L.acquire()", "deadlock"),  # noqa: E501
        ("import asyncio\nasync def handler(e, c): await asyncio.Event().wait()", "deadlock"),
        ("import time\ndef handler(e, c):\n    while True: time.sleep(0.1)", "livelock"),
    ],
)  # fmt: skip
def test_what_hangs_alone_is_a_failure(tmp_path: Path, source: str, oracle: str) -> None:
    report = _stress(tmp_path, source)
    assert report.verdict is Verdict.FAILED
    (finding,) = report.findings
    assert finding.oracle == oracle
    # A loop that is slow to be told from work may be told with two.
    assert len(finding.events) <= 2
    assert report.coverage.schedules < 20
