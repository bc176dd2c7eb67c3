"""A shared cache with a second level behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime import _sync
from lmi_runtime.caches.model import Clock
from lmi_runtime.caches.second import MemoryLevel
from lmi_runtime.caches.shared import SharedCache
from lmi_runtime.caches.shared.sqlite import SqliteSession
from tests.unit.caches.shared.conftest import Time


def fail() -> Any:
    raise AssertionError("must not be loaded")


@pytest.fixture
def level(time: Time) -> MemoryLevel:
    return MemoryLevel(time)


@pytest.fixture
def environment(
    tmp_path: Path, time: Time, level: MemoryLevel
) -> Iterator[Callable[..., SharedCache[Any]]]:
    """A cache in an environment of its own, with a second level shared by all of them."""
    made: list[SharedCache[Any]] = []

    def make(which: str, **options: Any) -> SharedCache[Any]:
        cache: SharedCache[Any] = SharedCache(
            directory=tmp_path / which,
            store="sqlite",
            l2=options.pop("l2", level),
            clock=Clock(time, time),
            **options,
        )
        made.append(cache)
        return cache

    yield make
    for cache in made:
        cache.close()


Environment = Callable[..., SharedCache[Any]]


def test_what_one_environment_loads_another_one_finds(environment: Environment) -> None:
    one, other = environment("one", ttl_s=10), environment("other", ttl_s=10)

    assert one.get_or_load(("k", 1), lambda: [1]) == [1]
    assert other.get(("k", 1)) is None
    assert other.get_or_load(("k", 1), fail) == [1]
    assert other.get(("k", 1)) == [1]
    assert other.statistics().second_hits == 1
    assert other.statistics().loads == 0


@pytest.mark.anyio
async def test_tasks_find_it_too(environment: Environment) -> None:
    assert await environment("one").aget_or_load("k", lambda: 1) == 1
    assert await environment("other").aget_or_load("k", fail) == 1


def test_a_value_does_not_become_younger_by_being_found(
    environment: Environment, time: Time
) -> None:
    environment("one", ttl_s=10).get_or_load("k", lambda: 1)
    time.now_s += 6
    other = environment("other", ttl_s=10)
    assert other.get_or_load("k", fail) == 1
    time.now_s += 5

    assert other.get("k") is None
    assert other.get_or_load("k", lambda: 2) == 2


def test_set_and_delete_reach_it(environment: Environment) -> None:
    one = environment("one")
    one.set("k", 1)
    assert environment("two").get_or_load("k", fail) == 1

    one.delete("k")
    assert environment("three").get_or_load("k", lambda: 3) == 3


@pytest.mark.anyio
async def test_tasks_set_and_delete_there_too(environment: Environment) -> None:
    one = environment("one")
    await one.aset("k", 1)
    assert await environment("two").aget_or_load("k", fail) == 1

    assert await one.adelete("k")
    assert not await one.adelete("k")
    assert await environment("three").aget_or_load("k", lambda: 3) == 3


@pytest.mark.anyio
@pytest.mark.parametrize("tasks", [False, True])
@pytest.mark.parametrize("change", ["delete", "set"])
async def test_what_happens_during_a_load_counts_for_more_there_too(
    environment: Environment, change: str, tasks: bool
) -> None:
    one = environment("one")

    def load() -> str:
        if change == "delete":
            one.delete("k")
        else:
            one.set("k", "new")
        return "old"

    assert (await one.aget_or_load("k", load) if tasks else one.get_or_load("k", load)) == "old"

    for cache in (one, environment("two")):
        assert cache.get_or_load("k", lambda: "new") == "new"


def test_what_is_found_there_while_it_is_deleted_is_not_kept(
    environment: Environment, level: MemoryLevel
) -> None:
    one = environment("one")
    environment("two").set("k", "old")
    delete = level.delete

    def find_and_delete(at: str) -> None:
        assert one.get_or_load("k", fail) == "old"
        delete(at)

    level.delete = find_and_delete  # type: ignore[method-assign]
    one.delete("k")

    assert one.get("k") is None
    assert one.get_or_load("k", lambda: "new") == "new"


@pytest.mark.anyio
async def test_no_task_waits_in_its_loop_for_others_that_write(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment("two").set("found", 1)
    cache = environment("one", negative_ttl_s=10)
    put, homes = SqliteSession.put, []

    def noted(*args: Any, **options: Any) -> bool:
        homes.append(_sync.current_home())
        return put(*args, **options)

    monkeypatch.setattr(SqliteSession, "put", noted)
    await cache.aget_or_load("found", fail)
    await cache.aget_or_load("loaded", lambda: 1)
    with pytest.raises(ZeroDivisionError):
        await cache.aget_or_load("failed", lambda: 1 // 0)

    assert homes == [None, None, None]


def test_what_has_tags_stays_in_its_environment(
    environment: Environment, level: MemoryLevel
) -> None:
    one = environment("one")
    one.set("k", 1)
    one.set("k", 2, tags=["t"])
    one.get_or_load("l", lambda: 1, tags=["t"])

    assert level._kept == {}


def test_a_second_level_that_fails_fails_no_request(environment: Environment) -> None:
    class Down:
        def __getattr__(self, name: str) -> Any:
            raise OSError("down")

    cache = environment("one", l2=Down())

    assert cache.get_or_load("k", lambda: 1) == 1
    assert cache.get("k") == 1
    assert cache.delete("k")
    assert cache.statistics().second_failures == 3


def test_garbage_in_it_is_loaded_again(environment: Environment, level: MemoryLevel) -> None:
    environment("one").set("k", 1)
    (at,) = level._kept
    level.set(at, b"garbage", None)

    assert environment("two").get_or_load("k", lambda: 2) == 2
