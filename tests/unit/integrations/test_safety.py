"""One call makes everything safe, imports nothing, and says in the log what it could not do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime.integrations.changes import NEWEST_POWERTOOLS
from tests.support.repository import REPOSITORY

PREPARE = """
import json, logging, sys
logging.basicConfig(format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
from lmi_runtime.integrations import make_safe
"""

LIBRARIES = ("aws_lambda_powertools", "aws_xray_sdk", "boto3", "botocore", "opentelemetry")


def run(code: str, *before: Path) -> tuple[Any, str]:
    """What the code printed as JSON, and what it logged, in a process of its own."""
    path = [*map(str, before), str(REPOSITORY)]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{PREPARE}\n{code}"],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def a_copy(folder: Path, version: str) -> Path:
    """As much of powertools as it takes to have a version."""
    package = folder / "aws_lambda_powertools"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"__version__ = {version!r}\n")
    return folder


def test_nothing_is_imported_that_the_function_does_not_import() -> None:
    loaded, log = run(
        f"make_safe(); make_safe(); import lmi_runtime, lmi_runtime.integrations.powertools\n"
        f"print(json.dumps([m for m in sys.modules if m.split('.')[0] in {LIBRARIES!r}]))"
    )
    assert loaded == []
    assert log == ""


def test_the_real_one_is_changed_and_nothing_is_said() -> None:
    (patched, not_patched), log = run(
        "make_safe(); import aws_lambda_powertools\n"
        "report = make_safe(); print(json.dumps([report.patched, report.not_patched]))"
    )
    assert patched
    assert not_patched == {}
    assert log == ""


def test_it_does_not_matter_which_comes_first() -> None:
    (first, later), _ = run(
        "import aws_lambda_powertools\n"
        "report = make_safe(); print(json.dumps([report.patched, report.waiting]))"
    )
    (after, waiting), _ = run(
        "make_safe(); import aws_lambda_powertools\n"
        "report = make_safe(); print(json.dumps([report.patched, report.waiting]))"
    )
    assert (first, later) == (after, waiting)


@pytest.mark.parametrize("version", ["2.43.1", "3.22.9", f"3.{NEWEST_POWERTOOLS[1] + 1}.0", "x"])
def test_a_version_outside_the_range_is_named_once(version: str, tmp_path: Path) -> None:
    _, log = run(
        "import aws_lambda_powertools; make_safe(); make_safe(); print('null')",
        a_copy(tmp_path, version),
    )
    [line] = [line for line in log.splitlines() if "outside the range" in line]
    assert line.startswith(f"WARNING lmi_runtime.integrations powertools {version} is outside")
    assert "3.23 to 3.37" in line


@pytest.mark.parametrize("version", ["3.23.0", "3.30.1", "3.37.9"])
def test_a_version_within_the_range_is_not(version: str, tmp_path: Path) -> None:
    _, log = run(
        "import aws_lambda_powertools; make_safe(); print('null')", a_copy(tmp_path, version)
    )
    assert "outside" not in log


def test_a_utility_that_does_not_look_as_it_should_is_named(tmp_path: Path) -> None:
    folder = a_copy(tmp_path, "3.99.0")
    logging_ = folder / "aws_lambda_powertools" / "logging"
    logging_.mkdir()
    (logging_ / "__init__.py").touch()
    (logging_ / "formatter.py").write_text("class Other: ...\n")
    not_patched, log = run(
        "make_safe(); import aws_lambda_powertools.logging.formatter\n"
        "print(json.dumps(make_safe().not_patched))",
        folder,
    )
    assert not_patched
    for utility, reason in not_patched.items():
        sentence = f"powertools: {utility} is not isolated between requests: {reason}."
        assert log.count(sentence) == 1


def test_two_copies_are_named_once(tmp_path: Path) -> None:
    layer, package = a_copy(tmp_path / "opt", "3.37.0"), a_copy(tmp_path / "task", "3.30.0")
    _, log = run("import aws_lambda_powertools; make_safe(); print('null')", layer, package)
    [line] = log.splitlines()
    assert "copies of powertools" in line
    assert f"{layer}/aws_lambda_powertools is used" in line
    assert f"{package}/aws_lambda_powertools" in line.partition(" is used")[2]


def test_one_copy_that_two_entries_lead_to_is_one(tmp_path: Path) -> None:
    real = a_copy(tmp_path / "task", "3.37.0")
    (tmp_path / "link").symlink_to(real)
    code = (
        "sys.path[:] = [e for e in sys.path if 'site-packages' not in e]\n"
        "import aws_lambda_powertools; make_safe(); print('null')"
    )
    _, log = run(f"make_safe()\n{code}", real, tmp_path / "link")
    assert log == ""
