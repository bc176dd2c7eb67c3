"""Which value makes room, for whom, and other people's mappings underneath."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cachebox
import cachetools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lmi_runtime.caches import Cache
from lmi_runtime.caches.entries import Entry, weight_of
from lmi_runtime.caches.model import Outcome, Times
from lmi_runtime.caches.storage import Shelf
from tests.unit.caches.tools import Call, SetClock


def entry(key: Any, weight: float = 1, gone_at: float = 1e9) -> Entry:
    return Entry(key, Outcome(value=key, weight=weight), Times(gone_at, gone_at, gone_at, gone_at))


# SIEVE, as its paper describes it.


def sieve(capacity: int, asked: list[int]) -> list[bool]:
    """The policy with a list, for comparison: the oldest first, hand as an index."""
    line: list[list[Any]] = []  # [key, visited]
    hand: list[Any] | None = None
    hits = []
    for key in asked:
        found = [one for one in line if one[0] == key]
        hits.append(bool(found))
        if found:
            found[0][1] = True
            continue
        if len(line) == capacity:
            one = hand or line[0]
            while one[1]:
                one[1] = False
                one = line[(line.index(one) + 1) % len(line)]
            index = line.index(one)
            hand = line[index + 1] if index + 1 < len(line) else None
            line.pop(index)
        line.append([key, False])
    return hits


@given(capacity=st.integers(1, 6), asked=st.lists(st.integers(0, 9), max_size=80))
def test_the_policy_is_sieve(capacity: int, asked: list[int]) -> None:
    cache: Cache[int] = Cache(max_size=capacity)
    hits = []
    for key in asked:
        hits.append(cache.get(key) is not None)
        if not hits[-1]:
            cache.set(key, key)

    assert hits == sieve(capacity, asked)


def test_a_scan_does_not_drive_out_what_is_in_use() -> None:
    """The least recently used rule would have lost all ten to the scan."""
    cache: Cache[int] = Cache(max_size=20)
    for key in range(10):
        cache.set(key, key)
    for scanned in range(1_000):
        for key in range(10):
            cache.get(key)
        cache.set(("scan", scanned), 0)

    assert all(key in cache for key in range(10))


def test_what_has_expired_makes_room_before_what_has_not() -> None:
    clock = SetClock()
    cache: Cache[int] = Cache(max_size=3, clock=clock.clock)
    cache.set("fresh", 1)
    cache.set("old", 1, ttl_s=5)
    cache.set("fresh too", 1)
    for key in ("fresh", "old", "fresh too"):
        cache.get(key)
    clock.pass_(10)

    cache.set("new", 1)

    assert [key in cache for key in ("fresh", "fresh too", "new")] == [True] * 3


class Shelves(RuleBasedStateMachine):
    """Whatever is put and dropped, in whatever partition: sums are right and limits hold."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf = Shelf(max_size=6, max_weight=20, quota=4)
        self.here: dict[Any, Entry] = {}
        self.now = 0.0

    keys = st.tuples(st.sampled_from("abc"), st.integers(0, 5))

    @rule(key=keys, weight=st.integers(0, 22), ttl=st.integers(1, 30))
    def put(self, key: Any, weight: int, ttl: int) -> None:
        new = entry(key, weight, self.now + ttl)
        out, taken = self.shelf.put(new, key[0], self.now)
        for gone in out:
            assert self.here.pop(gone.key) is gone
        assert taken == (weight <= 20)
        if taken:
            self.here[key] = new

    @rule(key=keys)
    def drop(self, key: Any) -> None:
        assert self.shelf.drop(key) is self.here.pop(key, None)

    @rule(key=keys)
    def swap(self, key: Any) -> None:
        if (old := self.here.get(key)) is not None:
            new = old.retried_at(5)
            self.shelf.swap(old, new)
            self.here[key] = new

    @rule(key=keys)
    def hit(self, key: Any) -> None:
        if (found := self.shelf.find(key)) is not None:
            found.hits += 1

    @rule(seconds=st.integers(1, 20))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @invariant()
    def all_adds_up(self) -> None:
        assert {one.key: one for one in self.shelf.entries()} == self.here
        assert len(self.shelf) == len(self.here) <= 6
        assert self.shelf.weight == sum(one.weight for one in self.here.values()) <= 20
        partitions = {one.key[0] for one in self.here.values()}
        assert self.shelf.partitions == len(partitions)
        for partition in partitions:
            mine = [one for one in self.here.values() if one.key[0] == partition]
            assert len(mine) <= 4
            line = mine[0].line
            assert line is not None
            walked, one = [], line.oldest
            while one is not None:
                walked.append(one)
                one = one.newer
            assert len(walked) == line.size == len(mine)
            assert set(walked) == set(mine)
            assert line.weight == sum(one.weight for one in mine)


TestShelves = Shelves.TestCase
TestShelves.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=60),
    st.lists(st.integers(0, 59)),
)
def test_only_who_holds_most_loses_to_others(puts: list[Any], hits: list[int]) -> None:
    shelf = Shelf(max_size=6)
    for number, key in enumerate(puts):
        before = [one.key[0] for one in shelf.entries()]
        out, _ = shelf.put(entry(key), key[0], 0.0)
        for gone in out:
            loser = gone.key[0]
            assert loser == key[0] or before.count(loser) == max(map(before.count, "abc"))
            assert loser == key[0] or before.count(loser) > before.count(key[0])
        if number in hits and (found := shelf.find(key)) is not None:
            found.hits += 1


# Mappings of the user's.

STORAGES: dict[str, Callable[[], Any]] = {
    "dict": dict,
    "cachetools.LRUCache": lambda: cachetools.LRUCache(100),
    "cachetools.TTLCache": lambda: cachetools.TTLCache(100, 60),
    "cachetools.LFUCache": lambda: cachetools.LFUCache(100, getsizeof=weight_of),
    "cachebox.LRUCache": lambda: cachebox.LRUCache(100),
    "cachebox.LFUCache": lambda: cachebox.LFUCache(100),
    "cachebox.TTLCache": lambda: cachebox.TTLCache(100, 60),
}


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest) -> Any:
    return STORAGES[request.param]()


def test_any_mapping_serves(storage: Any) -> None:
    clock = SetClock()
    cache: Cache[Any] = Cache(ttl_s=10, stale_if_error_s=100, storage=storage, clock=clock.clock)

    assert cache.get_or_load("k", lambda: 1, tags=["t"]) == 1
    cache.set("l", 2, tags=["t"])
    assert (cache.get("k"), cache.get("l"), cache.get("m")) == (1, 2, None)
    assert len(cache) == len(storage) == 2
    assert cache.invalidate(tag="t") == 2
    cache.set("k", 3)
    clock.pass_(11)
    assert cache.get("k") is None

    def fails() -> Any:
        raise OSError

    assert cache.get_or_load("k", fails) == 3
    assert cache.delete("k")
    cache.set("k", 4)
    cache.clear()
    assert (len(storage), cache.statistics().hits) == (0, 2)


def test_a_mapping_that_drops_entries_without_a_word_is_no_leak() -> None:
    cache: Cache[int] = Cache(storage=cachetools.LRUCache(10))
    for key in range(1_000):
        cache.set(key, key, tags=[f"t{key}"])

    assert len(cache) == 10
    assert cache.invalidate(tag="t0") == 0
    assert cache.invalidate(tag="t999") == 1
    assert len(cache._kept._tags) <= 84


def test_a_mapping_decides_by_the_hits_that_it_sees() -> None:
    cache: Cache[int] = Cache(storage=cachetools.LRUCache(2))
    cache.set("a", 1)
    cache.set("b", 1)
    cache.get("a")
    cache.set("c", 1)

    assert "a" in cache
    assert "b" not in cache


def test_what_a_mapping_refuses_is_given_and_not_kept() -> None:
    cache: Cache[str] = Cache(weigh=len, storage=cachetools.LRUCache(3, getsizeof=weight_of))

    assert cache.get_or_load("k", lambda: "long") == "long"
    assert cache.get_or_load("l", lambda: "one") == "one"
    assert (len(cache), cache.statistics().refused) == (1, 1)


def test_threads_share_a_mapping_that_is_not_made_for_it() -> None:
    cache: Cache[int] = Cache(storage=cachetools.LRUCache(20))

    def work() -> None:
        for number in range(500):
            key = number % 40
            assert cache.get_or_load(key, lambda key=key: key) == key

    for call in [Call(work) for _ in range(4)]:
        call.result()
    assert len(cache) <= 20
