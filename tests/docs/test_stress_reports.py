"""What `lmi stress` and pytest say of the examples is what README.md and the site show."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import EXAMPLES, Block, all_blocks
from tests.support.patience import PATIENCE_S

STRESS = EXAMPLES / "stress"
HOME = "/home/you/shop"

pytestmark = pytest.mark.system

_LMI = "import sys; from lmi_runtime.cli import main; sys.exit(main())"
_TOKEN = re.compile(r"lmi1\.[\w-]+")


@pytest.fixture
def shop() -> Iterator[Path]:
    """An empty directory with a short name: reports break lines that are long."""
    with tempfile.TemporaryDirectory(prefix="s") as name:
        yield Path(name)


def fill(shop: Path, example: str) -> None:
    for path in [*(STRESS / example).glob("app.py"), *(STRESS / example).glob("*.json")]:
        shutil.copy(path, shop)


def run(shop: Path, *words: str) -> tuple[int, str]:
    """Run a command there; return its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=shop,
        env={**os.environ, "COLUMNS": "88", "PYTHONPATH": str(EXAMPLES.parents[1])},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
        check=False,
    )
    assert done.returncode in (0, 1, 3), done.stderr
    return done.returncode, done.stdout.replace(str(shop.resolve()), HOME)


def stress(shop: Path, *words: str) -> tuple[int, str]:
    return run(shop, "-c", _LMI, "stress", *words, "--no-examples")


def same(told: str) -> str:
    """A report without what differs from run to run and from Python to Python."""
    head, _, tried = _TOKEN.sub("TOKEN", told).partition("\ntried ")
    return head + " ".join(re.sub(r"\d[\d.,]*", "N ", tried).split())


@pytest.mark.slow
@pytest.mark.parametrize(("example", "code"), [("racy", 1), ("mended", 0)])
def test_report_on_the_site_is_the_one_there_is(shop: Path, example: str, code: int) -> None:
    fill(shop, example)
    shown = STRESS / example / "report.txt"

    ended, told = stress(shop, "app.handle")

    assert ended == code, told
    if os.environ.get("LMI_UPDATE_SNAPSHOTS"):
        shown.write_text(told)
    assert same(told) == same(shown.read_text())


def test_token_fails_again_until_the_bug_is_mended(shop: Path) -> None:
    fill(shop, "racy")
    _, told = stress(shop, "app.handle")
    token = _TOKEN.findall(told)[0]

    again = stress(shop, "--replay", token)
    fill(shop, "mended")
    mended = stress(shop, "--replay", token)

    assert [again[0], mended[0]] == [1, 3]


@pytest.mark.slow
@pytest.mark.parametrize(("example", "code"), [("racy", 1), ("mended", 0)])
def test_tests_of_the_examples(shop: Path, example: str, code: int) -> None:
    fill(shop, example)
    for path in STRESS.glob("test_*.py"):
        shutil.copy(path, shop)
    (shop / "pytest.ini").write_text("[pytest]\naddopts = -p no:randomly -p no:cacheprovider\n")
    plugin = () if _is_installed() else ("-p", "lmi_runtime.pytest_plugin")

    ended, told = run(shop, "-m", "pytest", "-q", *plugin, "--lmi-stress-budget", "5s")

    assert ended == code, told
    assert (f"{2 - code} passed" in told) and ("1 failed" in told) == (code == 1)
    shown = STRESS / example / "pytest.txt"
    if code:
        lines = told.splitlines(keepends=True)
        first = next(n for n, line in enumerate(lines) if line.startswith("____"))
        last = next(n for n, line in enumerate(lines) if n > first and line.startswith("===="))
        kept = "".join(lines[first:last])
        if os.environ.get("LMI_UPDATE_SNAPSHOTS"):
            shown.write_text(kept)
        assert same(kept) == same(shown.read_text())


def _is_installed() -> bool:
    from importlib.metadata import entry_points

    return any(each.name == "lmi_runtime" for each in entry_points(group="pytest11"))


def _parts() -> list[tuple[Block, str]]:
    return [(block, path) for block in all_blocks() for path in block.values("part of")]


@pytest.mark.parametrize(("block", "path"), _parts(), ids=str)
def test_what_is_shown_in_part_is_part_of_it(block: Block, path: str) -> None:
    whole = iter(_plain((EXAMPLES / path).read_text()))

    missing = [
        line
        for line in _plain(block.text)
        if line != "..." and not line.startswith("$ ") and line not in whole
    ]

    assert missing == []


def _plain(text: str) -> list[str]:
    """Lines without the tokens, which are long."""
    return [_TOKEN.sub("lmi1...", line).rstrip() for line in text.splitlines() if line.strip()]


def test_some_reports_are_shown_in_part() -> None:
    assert {block.page for block, _ in _parts()} >= {"README.md", "docs/pages/stress-pytest.md"}
