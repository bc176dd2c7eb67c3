"""What type checkers see: a cached function keeps its parameters and gives its result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

SOURCE = """
from collections.abc import Coroutine
from typing import Any, assert_type

from lmi_runtime.caches import Cache, Loaded, cached


@cached
def plain(a: int, b: str = "") -> list[int]:
    return []


@cached(ttl_s=60, max_size=10, tags=["t"], copy="deep")
async def task(a: int, *, b: str = "") -> bytes:
    return b""


class Repository:
    @cached(ttl_s=60)
    def find(self, key: int) -> str:
        return ""

    @cached(ttl_s=60)
    async def afind(self, key: int) -> str:
        return ""


async def aload() -> int:
    return 1


async def use(repository: Repository, cache: Cache[int]) -> None:
    assert_type(plain(1, b=""), list[int])
    assert_type(await task(1, b=""), bytes)
    assert_type(repository.find(1), str)
    assert_type(await repository.afind(key=1), str)
    assert_type(Repository.find.invalidate(repository, 1), bool)
    assert_type(plain.invalidate(1), bool)
    assert_type(cache.get("k"), int | None)
    assert_type(cache.get("k", ""), int | str)
    assert_type(cache.get_or_load("k", lambda: 1), int)
    assert_type(cache.get_or_load("k", lambda: Loaded(value=1)), int)
    assert_type(await cache.aget_or_load("k", aload), int)
    assert_type(await cache.aget_or_load("k", lambda: 1), int)


"""

WRONG = {
    "plain('1')": "arg-type",
    "plain()": "call-arg",
    "plain.invalidate()": "call-arg",
    "repository.find('1')": "arg-type",
    "repository.find()": "call-arg",
    "cached(ttl='8')": "call-overload",
    "cached(copy='all')": "call-overload",
    "cache.set('k', '')": "arg-type",
    "cache.invalidate('tag')": "call-arg",
}


@pytest.mark.slow
def test_mypy_keeps_the_types(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    wrong = "".join(
        f"    {statement}  # type: ignore[{code}]\n" for statement, code in WRONG.items()
    )
    source = tmp_path / "checked.py"
    # Strict mypy reports an `ignore` that nothing needs: each wrong line has to be an error.
    arguments = "repository: Repository, cache: Cache[int]"
    source.write_text(f"{SOURCE}def misuse({arguments}) -> None:\n{wrong}")

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file=",
            f"--cache-dir={tmp_path / 'cache'}",
            str(source),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
