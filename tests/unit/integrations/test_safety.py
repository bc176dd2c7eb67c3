"""One call makes everything safe, imports nothing, and says in the log what it could not do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lmi_runtime.integrations import safety
from lmi_runtime.integrations.changes import NEWEST_POWERTOOLS
from tests.support.patience import PATIENCE_S
from tests.support.repository import REPOSITORY

PREPARE = """
import dataclasses, json, logging, sys
logging.basicConfig(format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
from lmi_runtime.integrations import make_safe
"""

SAFE = "print(json.dumps(dataclasses.asdict(make_safe())))"

LIBRARIES = ("aws_lambda_powertools", "aws_xray_sdk", "boto3", "botocore", "opentelemetry")


def run(code: str, *before: Path) -> tuple[Any, str]:
    """What the code printed as JSON, and what it logged, in a process of its own."""
    path = [*map(str, before), str(REPOSITORY)]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{PREPARE}\n{code}"],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
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


def test_it_does_not_matter_which_comes_first_and_nothing_is_said() -> None:
    first, log = run(f"import aws_lambda_powertools\n{SAFE}")
    later, log_of_later = run(f"make_safe(); import aws_lambda_powertools\n{SAFE}")
    assert first == later
    assert first["patched"]
    assert first["not_patched"] == {}
    assert log == log_of_later == ""


def test_a_version_outside_the_range_is_named_once(tmp_path: Path) -> None:
    _, log = run(
        "import aws_lambda_powertools; make_safe(); make_safe(); print('null')",
        a_copy(tmp_path, "3.22.9"),
    )
    [line] = [line for line in log.splitlines() if "outside the range" in line]
    assert line.startswith("WARNING lmi_runtime.integrations powertools 3.22.9 is outside")
    assert "3.23 to 3.37" in line


@pytest.mark.parametrize(
    ("version", "within"),
    [
        ("2.43.1", False),
        ("3.22.9", False),
        ("3.23.0", True),
        ("3.30.1", True),
        ("3.37.9", True),
        (f"3.{NEWEST_POWERTOOLS[1] + 1}.0", False),
        ("4.0.0", False),
        ("x", False),
    ],
)
def test_the_range(
    version: str, within: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    package = ModuleType("aws_lambda_powertools")
    package.__file__ = str(a_copy(tmp_path, version) / package.__name__ / "__init__.py")
    package.__dict__["__version__"] = version
    safety._look_at_powertools(package)
    assert ("outside the range" not in caplog.text) is within


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
