"""What a cache gives as time goes by, when it is full, and what it counts."""

from __future__ import annotations

import contextlib
import copy
import gc
import math
import weakref
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.caches import Cache, Loaded
from lmi_runtime.errors import WrongKindOfCaller
from tests.unit.caches.tools import Call, SetClock, until


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def fail(error: Exception) -> Any:
    def loader() -> Any:
        raise error

    return loader


def never() -> Any:
    raise AssertionError("nobody should have called this loader")


def test_set_get_delete_and_clear() -> None:
    cache: Cache[int] = Cache()

    cache.set("a", 1)
    cache.set("b", 2)

    assert cache.get("a") == 1
    assert cache.get("c") is None
    assert cache.get("c", 7) == 7
    assert "a" in cache
    assert "c" not in cache
    assert len(cache) == 2
    assert cache.delete("a")
    assert not cache.delete("a")
    cache.clear()
    assert len(cache) == 0
    assert cache.get("b") is None


def test_none_is_a_value_like_any_other() -> None:
    cache: Cache[None] = Cache()

    assert cache.get_or_load("k", lambda: None) is None
    assert cache.get_or_load("k", never) is None
    assert cache.get("k", 1) is None


def test_a_value_is_fresh_up_to_its_ttl_and_not_at_it(clock: SetClock) -> None:
    cache: Cache[int] = Cache(ttl_s=10, clock=clock.clock)
    cache.set("k", 1)

    clock.pass_(9.99)
    assert cache.get("k") == 1
    assert "k" in cache
    clock.pass_(0.01)
    assert cache.get("k") is None
    assert "k" not in cache
    assert cache.get_or_load("k", lambda: 2) == 2


def test_the_narrowest_ttl_counts(clock: SetClock) -> None:
    """What the loader says goes before what the caller says, and that before the cache."""
    cache: Cache[int] = Cache(ttl_s=10, clock=clock.clock)
    cache.get_or_load("cache", lambda: 1)
    cache.get_or_load("caller", lambda: 1, ttl_s=20)
    cache.get_or_load("loader", lambda: Loaded(value=1, ttl_s=30), ttl_s=20)
    cache.set("set", 1, ttl_s=40)
    cache.set("ever", 1, ttl_s=math.inf)

    there = []
    for _ in range(5):
        clock.pass_(9.9)
        there.append([key for key in ("cache", "caller", "loader", "set", "ever") if key in cache])
        clock.pass_(0.1)

    assert [len(keys) for keys in there] == [5, 4, 3, 2, 1]


def test_a_ttl_of_zero_shares_and_keeps_nothing(clock: SetClock) -> None:
    cache: Cache[int] = Cache(ttl_s=0, clock=clock.clock)

    assert cache.get_or_load("k", lambda: 1) == 1
    assert len(cache) == 0
    assert cache.get_or_load("k", lambda: 2) == 2


@given(jitter=st.floats(0, 1), spread=st.floats(0, 1))
def test_jitter_only_ever_shortens(jitter: float, spread: float) -> None:
    policy = Cache[int](ttl_s=100, jitter=jitter).policy

    times = policy.times(0.0, None, spread)

    assert 100 * (1 - jitter) - 1e-9 <= times.fresh_until <= 100
    assert times.refresh_at <= times.fresh_until


def test_jitter_spreads(clock: SetClock) -> None:
    cache: Cache[int] = Cache(ttl_s=100, jitter=1.0, clock=clock.clock)
    for key in range(200):
        cache.set(key, key)

    clock.pass_(50)

    assert 40 < sum(key in cache for key in range(200)) < 160


@pytest.mark.parametrize(
    "wrong",
    [
        {"ttl_s": -1},
        {"jitter": 1.1},
        {"refresh_ahead": 2},
        {"max_size": 0},
        {"stale_s": -1},
        {"copy": "always"},
        {"ttl_s": math.nan},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Cache(**wrong)


# Stale while revalidate, refresh ahead.


def test_a_stale_value_is_given_once_more_while_it_is_loaded_again(clock: SetClock) -> None:
    cache: Cache[int] = Cache(ttl_s=10, stale_s=5, clock=clock.clock)
    cache.set("k", 1)
    clock.pass_(12)

    assert cache.get_or_load("k", lambda: 2) == 1
    until(lambda: cache.get("k") == 2)

    statistics = cache.statistics()
    assert (statistics.hits_stale, statistics.refreshes, statistics.loads) == (1, 1, 1)


def test_no_value_is_stale_for_ever(clock: SetClock) -> None:
    """Loads that fail, or never end, do not make a value outlive `stale_s`."""
    cache: Cache[int] = Cache(ttl_s=10, stale_s=5, clock=clock.clock)
    cache.set("k", 1)
    clock.pass_(15)

    assert cache.get_or_load("k", lambda: 2) == 2


def test_get_gives_nothing_stale(clock: SetClock) -> None:
    """It has no loader: whoever only gets would be served old values by nobody's refresh."""
    cache: Cache[int] = Cache(ttl_s=10, stale_s=5, clock=clock.clock)
    cache.set("k", 1)
    clock.pass_(12)

    assert cache.get("k") is None


def test_a_hit_late_in_its_time_refreshes_ahead(clock: SetClock) -> None:
    cache: Cache[int] = Cache(ttl_s=10, refresh_ahead=0.8, clock=clock.clock)
    cache.set("k", 1)
    clock.pass_(7.9)
    assert cache.get_or_load("k", never) == 1

    clock.pass_(0.2)
    assert cache.get_or_load("k", lambda: 2) == 1
    until(lambda: cache.get("k") == 2)

    clock.pass_(7.9)
    assert cache.get_or_load("k", never) == 2
    assert cache.statistics().hits_stale == 0


def test_a_failed_refresh_ends_and_is_not_repeated_at_once(clock: SetClock) -> None:
    cache: Cache[int] = Cache(ttl_s=80, stale_s=80, clock=clock.clock)
    cache.set("k", 1)
    clock.pass_(100)

    assert cache.get_or_load("k", fail(OSError())) == 1
    until(lambda: cache.statistics().load_failures == 1)
    assert cache.get_or_load("k", never) == 1
    clock.pass_(1.0)
    assert cache.get_or_load("k", lambda: 2) == 1
    until(lambda: cache.get("k") == 2)


# Errors.


def test_an_error_is_raised_and_not_kept() -> None:
    cache: Cache[int] = Cache()

    with pytest.raises(OSError, match="first"):
        cache.get_or_load("k", fail(OSError("first")))

    assert cache.get_or_load("k", lambda: 1) == 1


def test_an_expired_value_is_better_than_an_error(clock: SetClock) -> None:
    cache: Cache[int] = Cache(ttl_s=10, stale_if_error_s=100, clock=clock.clock)
    cache.set("k", 1)
    clock.pass_(50)

    assert cache.get_or_load("k", fail(OSError())) == 1
    assert cache.statistics().hits_on_error == 1
    assert cache.get_or_load("k", never) == 1  # a backend that fails is left alone for a moment
    clock.pass_(1)
    assert cache.get_or_load("k", lambda: 2) == 2

    clock.pass_(110)
    with pytest.raises(OSError, match="again"):
        cache.get_or_load("k", fail(OSError("again")))


def test_errors_are_kept_if_asked_for(clock: SetClock) -> None:
    cache: Cache[int] = Cache(negative_ttl_s=5, negative_errors=(LookupError,), clock=clock.clock)

    for error in (LookupError("no such"), LookupError("not asked")):
        with pytest.raises(LookupError, match="no such"):
            cache.get_or_load("k", fail(error))
    with pytest.raises(OSError, match="another"):
        cache.get_or_load("other", fail(OSError("another")))

    assert cache.get("k", "default") == "default"
    assert "k" not in cache
    assert cache.get_or_load("other", lambda: 1) == 1
    assert cache.statistics().hits_negative == 1
    clock.pass_(5)
    assert cache.get_or_load("k", lambda: 2) == 2


def test_a_kept_error_keeps_nothing_alive_and_does_not_grow(clock: SetClock) -> None:
    class Thing:
        pass

    things = []

    def loader() -> Any:
        thing = Thing()
        things.append(weakref.ref(thing))
        raise LookupError("no such")

    cache: Cache[int] = Cache(negative_ttl_s=5, clock=clock.clock)
    depths = set()
    for _ in range(5):
        try:
            cache.get_or_load("k", loader)
        except LookupError as error:
            depths.add(_depth(error))
    gc.collect()

    assert len(things) == 1
    assert things[0]() is None
    assert len(depths) == 2  # the first one saw the loader


def _depth(error: BaseException) -> int:
    traceback, depth = error.__traceback__, 0
    while traceback is not None:
        traceback, depth = traceback.tb_next, depth + 1
    return depth


def test_an_error_leaves_no_garbage_behind() -> None:
    """Whoever loads hands big things around: they go when they are done with."""

    class Thing:
        pass

    def loader() -> Any:
        nonlocal watched
        thing = Thing()
        watched = weakref.ref(thing)
        raise OSError

    watched: Any = None
    cache: Cache[int] = Cache()
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(OSError):
            cache.get_or_load("k", loader)
        assert watched() is None
    finally:
        gc.enable()


def test_a_loader_for_tasks_is_refused_by_threads() -> None:
    async def loader() -> int:
        return 1

    with pytest.raises(WrongKindOfCaller, match="aget_or_load"):
        Cache().get_or_load("k", loader)


# Tags, invalidation.


def test_invalidate_finds_values_by_tag() -> None:
    cache: Cache[int] = Cache()
    cache.set("a", 1, tags=["x"])
    cache.get_or_load("b", lambda: Loaded(value=2, tags=["x", "y"]), tags=["z"])
    cache.set("c", 3)

    assert cache.invalidate(tag="nobody's") == 0
    assert cache.invalidate(tag="z") == 1
    assert "b" not in cache
    assert cache.invalidate(tag="x") == 1
    assert cache.invalidate(tag="x") == 0
    assert cache.get("c") == 3


def test_a_value_that_replaces_another_has_its_own_tags_only() -> None:
    cache: Cache[int] = Cache()
    cache.set("a", 1, tags=["x"])
    cache.set("a", 2, tags=["y"])

    assert cache.invalidate(tag="x") == 0
    assert cache.get("a") == 2


# Limits.


def test_what_is_in_use_stays() -> None:
    cache: Cache[int] = Cache(max_size=3)
    for key in "abc":
        cache.set(key, 1)
    cache.get("a")

    cache.set("d", 1)

    assert len(cache) == 3
    assert "a" in cache
    assert "b" not in cache
    assert cache.statistics().evictions == 1


def test_weights_are_limited() -> None:
    cache: Cache[str] = Cache(max_weight=10, weigh=len)
    cache.set("a", "x" * 6)
    cache.set("b", "x" * 4)
    assert cache.statistics().weight == 10

    cache.set("c", "x")
    assert "a" not in cache
    cache.set("too heavy", "x" * 11)
    assert "too heavy" not in cache
    cache.set("b", "x" * 11)

    statistics = cache.statistics()
    assert "b" not in cache  # the old value is not the value any more
    assert (statistics.weight, statistics.size, statistics.refused) == (1, 1, 2)


@pytest.mark.parametrize("weight", [-1, float("nan")])
def test_what_is_no_weight_is_refused(weight: float) -> None:
    cache: Cache[int] = Cache(max_weight=10, weigh=lambda _: weight)

    with pytest.raises(ValueError, match="weights are numbers"):
        cache.set("k", 1)
    with pytest.raises(ValueError, match="weights are numbers"):
        cache.get_or_load("k", lambda: 1)

    assert len(cache) == 0


def test_a_loader_may_weigh_its_value() -> None:
    cache: Cache[int] = Cache(max_weight=10)

    cache.get_or_load("k", lambda: Loaded(value=1, weight=4))

    assert cache.statistics().weight == 4


def test_a_function_that_cannot_weigh_fails_the_load_and_keeps_nothing() -> None:
    cache: Cache[Any] = Cache(weigh=len)

    with pytest.raises(TypeError):
        cache.get_or_load("k", lambda: 1)

    assert len(cache) == 0
    assert cache.statistics().loading == 0


def test_expired_values_go_without_being_asked_for(clock: SetClock) -> None:
    cache: Cache[int] = Cache(max_size=None, ttl_s=1, clock=clock.clock)
    for key in range(100):
        cache.set(key, key)
        clock.pass_(0.1)

    assert len(cache) < 20
    assert cache.statistics().expirations > 80


# Copies.


@pytest.mark.parametrize("how", ["set", "load"])
@pytest.mark.parametrize("kind", ["shallow", "deep"])
def test_nobody_can_change_what_others_get(kind: Any, how: str) -> None:
    cache: Cache[list[Any]] = Cache(copy=kind)
    mine: list[Any] = [[1]]
    if how == "set":
        cache.set("k", mine)
    else:
        loaded = cache.get_or_load("k", lambda: mine)
        assert loaded is not mine
    given_to_one = cache.get("k")
    assert given_to_one is not None

    mine.append(2)
    given_to_one.append(3)
    if kind == "deep":
        mine[0].append(2)
        given_to_one[0].append(3)

    assert cache.get_or_load("k", never) == [[1]]


def test_without_copies_everybody_gets_the_same() -> None:
    cache: Cache[list[int]] = Cache()
    cache.set("k", [1])

    assert cache.get("k") is cache.get("k")


# Clocks.


def test_after_a_sleep_of_the_machine_nothing_that_can_expire_is_fresh(clock: SetClock) -> None:
    cache: Cache[int] = Cache(stale_s=100, stale_if_error_s=100, clock=clock.clock)
    cache.set("ages", 1, ttl_s=100)
    cache.set("lasts", 1)
    clock.pass_(0.3)
    assert cache.get("ages") == 1

    clock.sleep_of_the_machine(60)
    clock.pass_(0.3)

    assert cache.get_or_load("ages", lambda: 2) == 2
    assert cache.get("lasts") == 1
    assert cache.statistics().leaps == 1


def test_a_clock_that_is_put_right_slowly_expires_nothing(clock: SetClock) -> None:
    cache: Cache[int] = Cache(ttl_s=1e6, clock=clock.clock)
    cache.set("k", 1)
    for _ in range(100):
        clock.pass_(3_600)
        clock.sleep_of_the_machine(1.8)

    assert cache.get("k") == 1
    assert cache.statistics().leaps == 0


def test_a_thread_that_stands_still_between_the_clocks_says_nothing() -> None:
    """Reading two clocks takes as long as the system likes, and that is no leap."""
    clock = SetClock()

    def slow_wall() -> float:
        wall = clock.wall_now
        if stalls:
            clock.pass_(stalls.pop())
        return wall

    stalls: list[float] = []
    cache: Cache[int] = Cache(ttl_s=1_000, clock=replace(clock.clock, wall=slow_wall))
    cache.set("k", 1)
    for seconds in (30.0, 0.2):
        clock.pass_(1)
        stalls.append(seconds)
        cache.get("another")
    clock.pass_(1)

    assert cache.get("k") == 1
    assert cache.statistics().leaps == 0


def test_the_clocks_are_compared_even_if_there_are_only_hits(clock: SetClock) -> None:
    cache: Cache[int] = Cache(ttl_s=1_000, clock=clock.clock)
    cache.set("k", 1)
    for _ in range(20):
        clock.pass_(0.1)
        assert cache.get("k") == 1
    clock.sleep_of_the_machine(5_000)

    clock.pass_(0.3)

    assert cache.get("k") is None


# Statistics, and values with habits.


def test_statistics_count_every_kind(clock: SetClock) -> None:
    cache: Cache[int] = Cache(max_size=2, ttl_s=10, name="users", clock=clock.clock)
    cache.get_or_load("a", lambda: 1)
    cache.get_or_load("a", never)
    cache.get("a")
    cache.get("b")
    cache.set("b", 1)
    cache.set("c", 1)
    cache.delete("c")

    statistics = cache.statistics()

    assert statistics.name == "users"
    assert (statistics.hits, statistics.misses, statistics.loads) == (2, 2, 1)
    assert (statistics.evictions, statistics.invalidations, statistics.size) == (1, 1, 1)
    assert statistics.hit_ratio == 0.5
    assert "users" in repr(cache)


def test_hits_of_values_that_are_gone_still_count() -> None:
    cache: Cache[int] = Cache()
    for end in (cache.clear, lambda: cache.delete("k"), lambda: cache.set("k", 2)):
        cache.set("k", 1)
        cache.get("k")
        end()

    assert cache.statistics().hits == 3


def test_a_finalizer_may_use_the_cache() -> None:
    """Values are let go of when the lock is free, however they go."""
    cache: Cache[Any] = Cache(max_size=1)
    said = []

    class Value:
        def __del__(self) -> None:
            said.append(len(cache))

    def one_after_the_other() -> None:
        cache.set("a", Value())
        cache.set("b", Value())
        cache.set("b", Value())
        cache.delete("b")
        cache.set("c", Value(), tags=["t"])
        cache.invalidate(tag="t")
        cache.set("d", Value())
        cache.clear()
        cache.get_or_load("e", Value)
        cache.get_or_load("f", Value)

    Call(one_after_the_other).result()
    assert len(said) == 6


def test_a_value_may_be_of_any_kind() -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("values are not compared")

        __hash__ = None  # type: ignore[assignment]

        def __bool__(self) -> bool:
            raise AssertionError("values are not asked whether they are true")

    cache: Cache[Any] = Cache()
    odd = Odd()
    cache.set("k", odd)
    assert cache.get("k") is odd
    assert cache.get_or_load("l", lambda: odd) is odd


def test_errors_that_cannot_be_copied_are_raised_as_they_are() -> None:
    class Stubborn(Exception):
        def __init__(self, key: str) -> None:
            super().__init__(f"no such key: {key}")
            self.key = key

    cache: Cache[int] = Cache(negative_ttl_s=5)
    for _ in range(3):
        with pytest.raises(Stubborn) as caught:
            cache.get_or_load("k", fail(Stubborn("a")))
        assert caught.value.args == ("no such key: a",)
        assert caught.value.key == "a"


def test_errors_that_refuse_to_be_copied_are_raised_as_they_are() -> None:
    class Refuses(Exception):
        def __reduce__(self) -> Any:
            raise TypeError("not this one")

    with pytest.raises(TypeError):
        copy.copy(Refuses())
    cache: Cache[int] = Cache(negative_ttl_s=5)
    for _ in range(2):
        with pytest.raises(Refuses):
            cache.get_or_load("k", fail(Refuses()))
