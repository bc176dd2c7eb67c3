"""A realistic handler with one defect of each kind: found; the same handler mended: clean."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime.bootstrap.stressing import StressOptions, stress_handler
from lmi_runtime.stress.model import Report, Verdict
from tests.system.stress.seeded import SEEDED, Seed

pytestmark = pytest.mark.slow

_APPS = Path(__file__).parent / "apps"
_EVENTS = json.loads((_APPS / "event.json").read_text())
# By the number of schedules: how many there is time for depends on who else uses the machine.
_OPTIONS = StressOptions(schedules=200, budget_s=math.inf)
_MOST_TO_FINDING = 100


def _with(seed: Seed, directory: Path) -> Path:
    root = directory / "shop"
    shutil.copytree(_APPS / "shop", root, ignore=shutil.ignore_patterns("__pycache__"))
    text = (root / seed.app).read_text()
    for old, new in seed.edits:
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        text = text.replace(old, new)
    (root / seed.app).write_text(text)
    return root


def _told(report: Report) -> list[str]:
    return [f"{each.oracle}: {each.sentence}" for each in report.findings]


@pytest.mark.parametrize("seed", SEEDED, ids=lambda seed: seed.name.replace(" ", "-"))
def test_a_seeded_defect_is_found(seed: Seed, tmp_path: Path, record_property: Any) -> None:
    root = _with(seed, tmp_path)
    report = stress_handler(
        seed.reference, _EVENTS, replace(_OPTIONS, mode=seed.mode), task_root=root
    )
    record_property("schedules", report.coverage.schedules)
    assert report.verdict is Verdict.FAILED, (report.coverage, report.notes)
    finding = next(each for each in report.findings if not each.warning)
    assert finding.oracle in seed.oracles, _told(report)
    assert seed.about in f"{finding.object_path} {finding.sentence} {finding.cycle}", _told(report)
    assert len(finding.events) <= 2
    assert finding.token
    assert report.coverage.schedules <= _MOST_TO_FINDING, report.coverage


@pytest.mark.parametrize("reference", ["app.handler", "app_async.handle"])
def test_the_mended_handler_is_clean(reference: str) -> None:
    report = stress_handler(reference, _EVENTS, _OPTIONS, task_root=_APPS / "shop")
    assert report.verdict is Verdict.PASSED, (_told(report), report.coverage, report.notes)
    assert report.findings == ()
