"""
Reports as people get them, next to this file in `snapshots/`.

After a change on purpose run with ``LMI_UPDATE_SNAPSHOTS=1`` and read the difference as a
user would: each file is something that ends up in a bug report.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from lmi_runtime.stress.report import html, sarif, summary, text, to_json
from tests.support.stress_reports import SAMPLES

FOLDER = Path(__file__).parent / "snapshots"
UPDATE = bool(os.environ.get("LMI_UPDATE_SNAPSHOTS"))


def check(name: str, found: str) -> None:
    path = FOLDER / name
    if UPDATE:
        FOLDER.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8")
    assert path.is_file(), f"run with LMI_UPDATE_SNAPSHOTS=1 to write {path.name}"
    assert found == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SAMPLES)
def test_text(name: str) -> None:
    report = SAMPLES[name]()

    check(f"{name}.txt", f"{summary(report)}\n\n{text(report)}")


@pytest.mark.parametrize("name", ["lost_update", "deadlock", "passed_exhaustive"])
def test_text_in_a_narrow_window(name: str) -> None:
    check(f"{name}.narrow.txt", text(SAMPLES[name](), width=60))


def test_text_in_colour() -> None:
    shown = text(SAMPLES["lost_update"](), colour=True)

    check("lost_update.colour.txt", shown.replace("\x1b", "\\e"))


@pytest.mark.parametrize("name", ["lost_update", "deadlock", "long_counterexample"])
def test_page_without_its_style_and_script(name: str) -> None:
    body = re.sub(r"<(style|script)>.*?</\1>", r"<\1/>", html(SAMPLES[name]()), flags=re.S)

    check(f"{name}.html", re.sub(r"'sha256-[^']+'", "'sha256-…'", body))


@pytest.mark.parametrize("name", ["lost_update", "passed_bounded"])
def test_json(name: str) -> None:
    check(f"{name}.json", json.dumps(to_json(SAMPLES[name]()), indent=1) + "\n")


@pytest.mark.parametrize("name", ["lost_update", "inconclusive"])
def test_sarif(name: str) -> None:
    check(f"{name}.sarif", json.dumps(sarif(SAMPLES[name]()), indent=1) + "\n")


def test_no_snapshot_is_left_over() -> None:
    names = {path.name.split(".")[0] for path in FOLDER.iterdir()}

    assert names <= set(SAMPLES)
