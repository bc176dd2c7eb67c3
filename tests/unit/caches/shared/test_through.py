"""A second level behind a cache of one process."""

from __future__ import annotations

from typing import Any

import pytest

from lmi_runtime.caches import Cache, Loaded, Through
from lmi_runtime.caches.second import MemoryLevel
from tests.unit.caches.shared.conftest import Time


def fail() -> Any:
    raise AssertionError("must not be loaded")


@pytest.fixture
def level(time: Time) -> MemoryLevel:
    return MemoryLevel(time)


def test_what_one_process_loaded_another_one_finds(level: MemoryLevel, time: Time) -> None:
    one = Through[Any](level, "users", ttl_s=10, now=time)
    assert Cache[Any]().get_or_load(1, one.loader(1, lambda: {"name": "x"})) == {"name": "x"}

    other, cache = Through[Any](level, "users", ttl_s=10, now=time), Cache[Any]()
    assert cache.get_or_load(1, other.loader(1, fail)) == {"name": "x"}
    assert cache.get(1) == {"name": "x"}
    time.now_s += 10
    assert other.loader(1, lambda: "new")() == "new"


@pytest.mark.anyio
async def test_tasks_find_it_too(level: MemoryLevel, time: Time) -> None:
    beyond, loads = Through[int](level, "users", now=time), []

    async def load() -> int:
        loads.append(1)
        return 5

    assert await Cache[int]().aget_or_load(1, beyond.aloader(1, load)) == 5
    assert await Cache[int]().aget_or_load(1, beyond.aloader(1, load)) == 5
    assert len(loads) == 1


def test_names_and_keys_are_told_apart(level: MemoryLevel) -> None:
    Through[int](level, "one").loader(1, lambda: 1)()

    assert Through[int](level, "two").loader(1, lambda: 2)() == 2
    assert Through[int](level, "one").loader("1", lambda: 3)() == 3


def test_what_a_loader_says_about_its_value_counts(level: MemoryLevel, time: Time) -> None:
    beyond = Through[int](level, "users", ttl_s=10, now=time)

    beyond.loader("short", lambda: Loaded(value=1, ttl_s=1))()
    beyond.loader("tagged", lambda: Loaded(value=1, tags=["t"]))()
    assert len(level._kept) == 1
    time.now_s += 1
    assert beyond.loader("short", lambda: 2)() == 2


def test_a_forgotten_value_is_loaded_again(level: MemoryLevel) -> None:
    beyond = Through[int](level, "users")
    beyond.loader(1, lambda: 1)()

    beyond.forget(1)

    assert beyond.loader(1, lambda: 2)() == 2


def test_what_cannot_be_read_or_reached_is_loaded(level: MemoryLevel) -> None:
    Through[bytes](level, "users", codec="bytes").loader(1, lambda: b"no JSON")()
    assert Through[int](level, "users").loader(1, lambda: 2)() == 2

    class Down:
        def __getattr__(self, name: str) -> Any:
            raise OSError("down")

    assert Through[int](Down(), "users").loader(1, lambda: 3)() == 3
