"""Where other checkers come from: a virtual environment of their own, made when asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["NEEDS", "NotRun", "command_for"]

NEEDS = {"lmi": "", "naive": "", "frontrun": "frontrun==0.7.0", "detangle": "detangle==0.1.0"}
"""What a contender has to be installed from; empty for what is here."""

_REPOSITORY = Path(__file__).resolve().parents[3]


class NotRun(Exception):
    """A contender that could not be had, and why."""


def command_for(contender: str) -> list[str]:
    """
    Return what starts a Python that has *contender*, without arguments for Python itself.

    Raises:
        NotRun: It could not be installed.
    """
    requirement = NEEDS[contender]
    if not requirement:
        return [sys.executable]
    # One a Python version: a wheel for one is none for the other.
    name = f"racebench-{contender}-{sys.version_info.major}.{sys.version_info.minor}"
    folder = Path(os.environ.get("LMI_CACHE_DIR") or _REPOSITORY / ".cache") / name
    python = folder / "bin" / "python"
    if not _has(python, contender, requirement):
        _install(folder, python, requirement)
    # Its launcher preloads the library through which it sees files and sockets.
    launcher = [str(python.with_name("frontrun"))] if contender == "frontrun" else []
    return [*launcher, str(python)]


def _has(python: Path, module: str, requirement: str) -> bool:
    if not python.exists():
        return False
    version = requirement.partition("==")[2]
    ask = f"import {module}, importlib.metadata as m; assert m.version('{module}') == '{version}'"
    return subprocess.run([python, "-c", ask], capture_output=True, check=False).returncode == 0


def _install(folder: Path, python: Path, requirement: str) -> None:
    try:
        venv.create(folder, clear=True, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotRun(f"no virtual environment: {error}") from error
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotRun((lines or ["pip failed"])[-1])
