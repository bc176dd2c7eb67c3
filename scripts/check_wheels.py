"""
Prove that the package installs on Lambda without a compiler.

For each processor and Python of Lambda Managed Instances, pip resolves the core dependencies,
and the extras a function would ship, from binary wheels alone. Nothing is installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHONS = ("3.13", "3.14")
PROCESSORS = ("x86_64", "aarch64")
# Wheels that Amazon Linux 2023 (glibc 2.34) accepts.
PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34")
FUNCTION_EXTRAS = ("uvloop", "orjson")
RESOLVE_TIMEOUT_S = 180.0


def requirements() -> list[str]:
    """Return what a function installs, as written in pyproject.toml."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = [need for name in FUNCTION_EXTRAS for need in project["optional-dependencies"][name]]
    return [*project["dependencies"], *extras]


def resolve(python: str, processor: str) -> list[str]:
    """
    Return the wheels pip would take, as `name version`.

    Raises:
        CalledProcessError: One of them exists as source only, or not at all.
    """
    with tempfile.TemporaryDirectory() as target:
        command = [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-input"),
            *("--ignore-installed", "--only-binary=:all:", "--target", target, "--report", "-"),
            *("--python-version", python, "--implementation", "cp"),
            *(f"--platform={platform}_{processor}" for platform in PLATFORMS),
            *requirements(),
        ]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=RESOLVE_TIMEOUT_S
        )
    found = [item["metadata"] for item in json.loads(done.stdout)["install"]]
    return sorted(f"{meta['name']} {meta['version']}" for meta in found)


def describe(target: tuple[str, str]) -> tuple[bool, str]:
    """Return whether *target* can be installed, and the line that says so."""
    python, processor = target
    label = f"Python {python} on {processor}"
    try:
        return True, f"ok      {label}: {', '.join(resolve(python, processor))}"
    except subprocess.CalledProcessError as error:
        return False, f"FAILED  {label}:\n{error.stderr}"


def main() -> int:
    with ThreadPoolExecutor() as pool:
        told = list(pool.map(describe, product(PYTHONS, PROCESSORS)))
    for _, line in told:
        print(line)
    return 0 if all(ok for ok, _ in told) else 1


if __name__ == "__main__":
    sys.exit(main())
