"""What the rules of the repository are checked on: its tracked files and its rooms."""

from __future__ import annotations

import ast
import functools
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "lmi_runtime"


@functools.cache
def tracked_files() -> tuple[str, ...]:
    """Return the files git knows, as paths from the top; skip where there is no checkout."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not run: this is not a git checkout")
    command = ["git", "-c", f"safe.directory={REPOSITORY}", "ls-files", "-z"]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return tuple(name for name in done.stdout.split("\0") if name)


def tracked_texts() -> Iterator[tuple[str, str]]:
    """Yield each tracked text file that exists, with its content."""
    for name in tracked_files():
        try:
            yield name, (REPOSITORY / name).read_text()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue


def package_sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield each module of the package, parsed, by its path from the package's top."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())


def rooms() -> frozenset[str]:
    """Return the names of the package's rooms, modules and folders alike."""
    found = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    return frozenset(found | {p.stem for p in PACKAGE.glob("*.py")} - {"__init__"})


@functools.cache
def pyproject() -> dict[str, Any]:
    """Return pyproject.toml, parsed."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
