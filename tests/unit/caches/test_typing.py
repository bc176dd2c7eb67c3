"""What type checkers see: a cached function keeps its parameters and gives its result."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.typing_checks import check_types

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
    check_types(
        SOURCE, "def misuse(repository: Repository, cache: Cache[int]) -> None:", WRONG, tmp_path
    )
