"""Handlers that need trio are explored on trio."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lmi_runtime.bootstrap.stressing import StressOptions, stress_handler
from lmi_runtime.stress.model import Report, Verdict

pytestmark = pytest.mark.system
pytest.importorskip("trio")

APPS = Path(__file__).parent / "apps"


def _explored(function: str, options: StressOptions) -> Report:
    return stress_handler(f"on_trio.{function}", [{}], options, task_root=APPS)


def test_a_request_id_in_a_global_is_found_across_a_trio_sleep() -> None:
    report = _explored("handler", StressOptions(backend="trio", schedules=200, budget_s=math.inf))

    assert report.verdict is Verdict.FAILED
    assert report.findings[0].oracle == "isolation"
    assert report.findings[0].object_path == "on_trio.CURRENT"


def test_equal_deadlines_come_in_the_same_order_in_every_run() -> None:
    """Trio keeps them by the identity of their scopes; a run that differed would not be whole."""
    report = _explored("good", StressOptions(backend="trio", schedules=40, budget_s=math.inf))

    assert report.verdict is Verdict.PASSED
    assert not report.coverage.uncontrolled


def test_the_variable_that_serves_it_in_lambda_is_named_when_it_is_missing() -> None:
    report = _explored("good", StressOptions(schedules=50, budget_s=math.inf))

    assert report.verdict is Verdict.INCONCLUSIVE
    assert "LMI_BACKEND=trio" in " ".join(report.coverage.uncontrolled)
