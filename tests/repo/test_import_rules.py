"""Who may import what: the rooms, the seam, and the function's import path."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.patience import PATIENCE_S
from tests.support.repository import REPOSITORY, package_sources, pyproject, rooms

# The one place that makes locks, threads, queues and clocks, and the room that replaces it.
SEAM_ROOMS = ("_sync/", "stress/")
SEAM_MODULES = {"threading", "_thread", "queue"}
SEAM_NAMES = {
    "time.monotonic",
    "time.monotonic_ns",
    "time.perf_counter",
    "time.sleep",
    "time.time",
    "asyncio.to_thread",
    "concurrent.futures.ThreadPoolExecutor",
}
# What a cold start must not pay for.
OPTIONAL_LIBRARIES = {
    "aws_lambda_powertools",
    "boto3",
    "botocore",
    "hypothesis",
    "opentelemetry",
    "pytest",
    "rich",
    "trio",
    "uvloop",
}
FUNCTION_ROOMS = {"handlers", "context", "pools", "caches", "model", "errors", "_sync", "logs"}
ABOVE_THE_HOT_PATH = {
    "__main__",
    "cli",
    "pytest_plugin",
    "bootstrap",
    "stress",
    "integrations",
    "planner",
}


def contract(name: str) -> dict[str, list[str]]:
    (found,) = [c for c in pyproject()["tool"]["importlinter"]["contracts"] if c["name"] == name]
    return found


def names_used(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield modules imported and `module.name`s used, each with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from ((node.lineno, alias.name) for alias in aliases)
            case ast.ImportFrom(module=str(module), names=aliases, level=0):
                yield node.lineno, module
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in aliases)
            case ast.Attribute():
                yield node.lineno, ast.unparse(node)


def seam_breaches(tree: ast.Module) -> list[tuple[int, str]]:
    return [use for use in names_used(tree) if use[1] in SEAM_MODULES | SEAM_NAMES]


def test_locks_threads_queues_and_clocks_come_from_one_room() -> None:
    """The race checker controls what goes through `_sync`, and is blind to all else."""
    found = {
        f"{name}:{line} {used}"
        for name, tree in package_sources()
        if not name.startswith(SEAM_ROOMS)
        for line, used in seam_breaches(tree)
    }

    assert found == set()


@pytest.mark.parametrize(
    "code",
    ["import threading", "from threading import Lock", "import time\ntime.sleep(1)"],
)
def test_the_seam_rule_sees_breaches(code: str) -> None:
    assert seam_breaches(ast.parse(code))


def test_import_contracts_are_kept() -> None:
    if importlib.util.find_spec("importlinter") is None:
        pytest.skip("not run: import-linter is not installed")
    command = "from importlinter.cli import lint_imports_command as c; c(['--no-cache'])"
    done = subprocess.run(
        [sys.executable, "-c", command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "key", "all_of"),
    [
        (
            "The dispatcher knows ports, never the wire",
            "forbidden_modules",
            {"handlers", "rapi", "pools", "caches"},
        ),
        (
            "Race checking sees only the seam",
            "forbidden_modules",
            {"context", "rapi", "pools", "caches", "handlers", "logs", "dispatch", "emulator"},
        ),
        (
            "Nothing optional on the hot path",
            "source_modules",
            rooms() - ABOVE_THE_HOT_PATH,
        ),
    ],
)
def test_contracts_name_every_room_that_exists(name: str, key: str, all_of: set[str]) -> None:
    """A contract can only name rooms that exist, so each new room has to be added."""
    wanted = {f"lmi_runtime.{room}" for room in all_of & rooms()}

    assert wanted - set(contract(name)[key]) == set()


def test_importing_a_function_loads_nothing_optional() -> None:
    modules = ["lmi_runtime", *(f"lmi_runtime.{room}" for room in FUNCTION_ROOMS & rooms())]
    code = f"import sys, {', '.join(sorted(modules))}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}

    assert loaded & OPTIONAL_LIBRARIES == set()


def test_the_pytest_plugin_costs_a_project_nothing_that_has_no_stress_tests() -> None:
    """pytest imports it in every project that has lmi_runtime installed."""
    code = (
        "import sys, pytest, lmi_runtime; before = set(sys.modules); "
        "import lmi_runtime.pytest_plugin; print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["lmi_runtime.pytest_plugin"]


def test_importing_the_package_starts_no_thread() -> None:
    """A thread alive at import makes it unsafe to fork the workers afterwards."""
    code = "import lmi_runtime, threading; print(threading.active_count())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "1"
