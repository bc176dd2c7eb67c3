"""What type checkers see of code that uses the package."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S
from tests.support.repository import REPOSITORY

__all__ = ["check_types"]


def check_types(source: str, misuse: str, wrong: Mapping[str, str], folder: Path) -> None:
    """
    See that strict mypy takes `source` as it is, and refuses each wrong statement.

    Args:
        source: A module; its `assert_type` calls say what is expected.
        misuse: The ``def`` line of the function that wrong statements are put into.
        wrong: For each statement the code of the error that it is.
        folder: Where to work.
    """
    pytest.importorskip("mypy")
    statements = "".join(
        f"    {statement}  # type: ignore[{code}]\n" for statement, code in wrong.items()
    )
    module = folder / "checked.py"
    # Strict mypy reports an `ignore` that nothing needs: each wrong line has to be an error.
    module.write_text(f"{source}\n\n{misuse}\n{statements}")
    options = ["--strict", "--config-file=", f"--cache-dir={_knowledge().name}"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(module)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@functools.cache
def _knowledge() -> tempfile.TemporaryDirectory[str]:
    """What mypy knows of the package: the first check in a process learns it for all others."""
    return tempfile.TemporaryDirectory(prefix="mypy-")
