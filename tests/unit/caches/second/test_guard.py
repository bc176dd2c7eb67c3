"""A second level that fails no request, and is left alone while it does not answer."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime import _sync
from lmi_runtime.caches.second import GuardedLevel, MemoryLevel, TooLarge
from lmi_runtime.caches.second.breaker import Breaker, after_failure, after_success, may_ask
from lmi_runtime.errors import WrongKindOfCaller


class Flaky(MemoryLevel):
    """Raises what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self.asked = 0

    def _maybe_fail(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error

    def get(self, key: str, /) -> bytes | None:
        self._maybe_fail()
        return super().get(key)

    def set(self, key: str, value: bytes, ttl_s: float | None, /) -> None:
        self._maybe_fail()
        super().set(key, value, ttl_s)

    def delete(self, key: str, /) -> None:
        self._maybe_fail()
        super().delete(key)


class Time:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(_sync, "monotonic", clock)
    return clock


@pytest.fixture
def flaky(time: Time) -> Flaky:
    return Flaky()


def test_what_works_is_passed_on(flaky: Flaky) -> None:
    guard = GuardedLevel(flaky, "test")

    guard.set("k", b"v", None)
    assert guard.get("k") == b"v"
    guard.delete("k")
    assert guard.get("k") is None
    assert (guard.hits.value, guard.misses.value, guard.failures.value) == (1, 1, 0)


def test_failures_are_misses_and_counted_and_logged_once_a_minute(
    flaky: Flaky, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    guard = GuardedLevel(flaky, "test")
    flaky.error = OSError("down")

    with caplog.at_level(logging.WARNING, "lmi_runtime.caches"):
        assert guard.get("k") is None
        guard.set("k", b"v", None)
        assert [record.getMessage() for record in caplog.records] == [
            "The second level of cache 'test' failed: OSError('down')"
        ]
        time.now_s += 60
        guard.delete("k")
        assert len(caplog.records) == 2
    assert guard.failures.value == 3


def test_after_three_failures_it_is_left_alone_for_longer_and_longer(
    flaky: Flaky, time: Time
) -> None:
    guard = GuardedLevel(flaky, "test")
    flaky.error = OSError("down")
    for _ in range(10):
        guard.get("k")
    assert flaky.asked == 3

    for rest_s, asked in ((1, 4), (2, 5), (4, 6)):
        time.now_s += rest_s - 0.1
        guard.get("k")
        assert flaky.asked == asked - 1
        time.now_s += 0.1
        guard.get("k")
        guard.get("k")
        assert flaky.asked == asked

    flaky.error = None
    time.now_s += 8
    guard.get("k")
    guard.get("k")
    assert flaky.asked == 8


def test_what_is_too_large_is_no_failure(flaky: Flaky) -> None:
    guard = GuardedLevel(flaky, "test")
    flaky.error = TooLarge()

    for _ in range(5):
        guard.set("k", b"v", None)

    assert flaky.asked == guard.too_large.value == 5
    assert guard.failures.value == 0


def test_an_interrupt_goes_through(flaky: Flaky) -> None:
    flaky.error = KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt):
        GuardedLevel(flaky, "test").get("k")


@pytest.mark.anyio
async def test_tasks_are_guarded_too() -> None:
    flaky = Flaky()
    guard = GuardedLevel(flaky, "test")
    await guard.aset("k", b"v", None)
    assert await guard.aget("k") == b"v"

    flaky.error = OSError("down")
    assert await guard.aget("k") is None
    await guard.aset("k", b"v", None)
    assert guard.failures.value == 2


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100))))
def test_a_rest_never_lasts_longer_than_half_a_minute(events: list[tuple[bool, float]]) -> None:
    breaker, now_s = Breaker(), 0.0
    for works, passed_s in events:
        now_s += passed_s
        asking = may_ask(breaker, now_s)
        if asking is not None:
            breaker = after_success(asking) if works else after_failure(asking, now_s)

    assert breaker.rest_until_s <= now_s + 30
    assert may_ask(breaker, now_s + 30) is not None
    assert may_ask(breaker, now_s) is not None or breaker.failures >= 3


def test_after_a_rest_one_asks_and_the_others_wait_for_what_it_finds() -> None:
    breaker = Breaker()
    for _ in range(3):
        breaker = after_failure(breaker, 0.0)

    asking = may_ask(breaker, 1.0)

    assert asking is not None
    assert may_ask(asking, 1.0) is None
    assert may_ask(after_success(asking), 1.0) is not None


def test_a_client_for_tasks_only_is_told_of_where_something_would_stay_there(flaky: Flaky) -> None:
    guard = GuardedLevel(flaky, "test")
    flaky.error = WrongKindOfCaller("for tasks")

    for _ in range(4):
        assert guard.get("k") is None
        guard.set("k", b"v", None)
    with pytest.raises(WrongKindOfCaller):
        guard.set("k", b"v", None, strict=True)
    with pytest.raises(WrongKindOfCaller):
        guard.delete("k")
    flaky.error = None

    guard.set("k", b"v", None)
    assert guard.get("k") == b"v"
