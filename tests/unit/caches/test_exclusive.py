"""Whoever is in a step of a cache is told so when it asks for another."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from lmi_runtime.caches import Cache
from lmi_runtime.caches.exclusive import Exclusive
from tests.support.patience import PATIENCE_S


def in_time(step: Callable[[], object]) -> None:
    """Run `step` in a thread; what hangs is a failure."""
    thread = threading.Thread(target=step, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_key_that_uses_the_cache_to_compare_itself_is_told_so() -> None:
    cache: Cache[int] = Cache()
    told: list[str] = []

    class Key:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            try:
                cache.delete("other")
            except RuntimeError as error:
                told.append(str(error))
            return self is other

    def step() -> None:
        cache.set(Key(), 1)
        cache.set(Key(), 2)

    in_time(step)

    assert told
    assert all("from within one of its own steps" in text for text in told)
    cache.set("afterwards", 3)
    assert cache.get("afterwards") == 3


# What a finalizer raises is told of, not raised.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_finalizer_in_the_middle_of_a_step_does_not_hang() -> None:
    cache: Cache[int] = Cache()

    class Garbage:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            cache.delete("other")

    def step() -> None:
        for number in range(3000):
            Garbage()
            cache.set(number, number)
            cache.get_or_load((number,), lambda: 1)

    before = gc.get_threshold()
    gc.set_threshold(7)
    try:
        in_time(step)
    finally:
        gc.set_threshold(*before)
        gc.collect()

    assert cache.get(2999) == 2999


def test_a_fork_from_within_a_step_does_without_the_lock() -> None:
    lock = Exclusive()
    with lock:
        assert not lock.acquire(0.0)

    assert lock.acquire(0.0)
    lock.release()


def test_others_wait() -> None:
    lock: Any = Exclusive()
    order: list[str] = []
    entered = threading.Event()

    def other() -> None:
        entered.set()
        with lock:
            order.append("other")

    thread = threading.Thread(target=other)
    with lock:
        thread.start()
        assert entered.wait(PATIENCE_S)
        order.append("first")
    thread.join(PATIENCE_S)

    assert order == ["first", "other"]
