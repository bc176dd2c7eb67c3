"""Handlers with powertools are explored as the runtime serves them: made safe, or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lmi_runtime.bootstrap.stressing import StressOptions, stress_handler
from lmi_runtime.stress.model import Verdict
from tests.support.repository import REPOSITORY

pytestmark = pytest.mark.slow

CODE = """
import asyncio
from aws_lambda_powertools import Logger, Metrics
from lmi_runtime import handler

logger = Logger(service="orders")
metrics = Metrics(namespace="Shop", service="orders")

@handler{options}
@logger.inject_lambda_context
@metrics.log_metrics
{kind} handle(event, context):
    logger.append_keys(caller=event["caller"])
    metrics.add_dimension(name="caller", value=event["caller"])
    metrics.add_metric(name="orders", unit="Count", value=1)
    {wait}
    logger.info("served")
    return {{"caller": event["caller"]}}
"""

TASKS = CODE.format(options="", kind="async def", wait="await asyncio.sleep(0)")
THREADS = CODE.format(options='(concurrency="threads")', kind="def", wait="pass")


@pytest.mark.parametrize("code", [TASKS, THREADS], ids=["tasks", "threads"])
def test_no_race_is_found_in_powertools(code: str, tmp_path: Path) -> None:
    (tmp_path / "powertools_app.py").write_text(code)

    report = stress_handler(
        "powertools_app.handle",
        [{"caller": "x"}],
        StressOptions(preemptions=1, schedules=150, budget_s=30.0),
        task_root=tmp_path,
    )

    assert report.findings == (), [each.sentence for each in report.findings]
    assert report.verdict is Verdict.PASSED


def test_what_it_would_be_without_is_found(tmp_path: Path) -> None:
    """In a process of its own: what is made safe stays so."""
    (tmp_path / "powertools_app.py").write_text(THREADS)
    (tmp_path / "events.json").write_text('{"caller": "x"}')

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from lmi_runtime.cli import main; raise SystemExit(main())",
            "stress",
            "powertools_app.handle",
            "--budget",
            "20s",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "LMI_MAKE_SAFE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1, done.stderr
    assert "One invocation's data appears in another" in done.stdout
