"""
What a function imports before it serves anything, and what it does not wait for.

Under AWS's own client each of many processes pays for it. What is counted here are modules: times
are for `stress/bench/footprint.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.repository import REPOSITORY

PATHS = [str(REPOSITORY), *(path for path in sys.path if path.endswith("-packages"))]
"""Not through `site`, whose .pth files may import anything."""

# AWS's own client imports logging, and with it 3.14 imports dataclasses.

CODE = """
import logging, sys, typing
before = {*sys.modules}
def added():
    return sorted({*sys.modules} - before)
from lmi_runtime import Pool, Cache, cached, SharedCache, ConnectionBudget, resource, handler
imported = added()
pool = Pool(lambda: None, max_size=2)
cache = Cache(max_size=8)
budget = ConnectionBudget(max_connections=8, environments=1)
made = added()
@handler
async def serve(event, context):
    return event
decorated = added()
answer = serve({"a": 1}, None)
import json
print(json.dumps([imported, made, decorated, answer]))
"""

NEVER_ON_IMPORT = {
    "_decimal",
    "_hashlib",
    "_ssl",
    "anyio",
    "ast",
    "asyncio",
    "concurrent.futures",
    "contextvars_extras",
    "dataclasses",
    "decimal",
    "difflib",
    "hashlib",
    "importlib.metadata",
    "importlib.util",
    "inspect",
    "json",
    "mmap",
    "multiprocessing",
    "pathlib",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "typing_extensions",
    "unicodedata",
    "urllib",
}


@pytest.fixture(scope="module")
def steps() -> list[Any]:
    """The modules after each step, and what the handler answered, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {PATHS!r}\n{CODE}"],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    steps: list[Any] = json.loads(done.stdout)
    return steps


def test_an_import_brings_nothing_that_only_some_use(steps: list[Any]) -> None:
    assert NEVER_ON_IMPORT & {*steps[0]} == set()


def test_an_import_brings_few_modules(steps: list[Any]) -> None:
    """Each module takes a quarter of a millisecond to find and read, whatever is in it."""
    assert len(steps[0]) <= 115


def test_pools_and_caches_need_no_event_loop(steps: list[Any]) -> None:
    assert {"anyio", "asyncio", "contextvars_extras", "ssl"} & {*steps[1]} == set()


def test_a_decorated_handler_needs_no_event_loop_before_it_is_called(steps: list[Any]) -> None:
    assert {"asyncio", "anyio", "decimal", "json"} & {*steps[2]} == set()


def test_what_came_later_works(steps: list[Any]) -> None:
    assert steps[3] == {"a": 1}
