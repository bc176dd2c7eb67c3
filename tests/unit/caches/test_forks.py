"""A child process keeps the values, and waits for nobody who stayed behind."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from lmi_runtime.caches import Cache
from lmi_runtime.caches.forks import _followed
from tests.unit.caches.tools import Call, Gate, until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="not run: no fork here")


def in_child(check: Callable[[], Any], patience_s: int = 20) -> bool:
    """Whether `check()` is true in a child of this process; a hang is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # "may lead to deadlocks": not here
        child = os.fork()
    if child == 0:
        signal.alarm(patience_s)
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def test_a_child_keeps_the_values_and_begins_its_own_loads() -> None:
    cache: Cache[str] = Cache()
    cache.set("kept", "value", tags=["t"])
    gate = Gate()
    loading = Call(lambda: cache.get_or_load("k", gate))
    gate.wait_begun()

    def check() -> bool:
        return (
            cache.get("kept") == "value"
            and cache.get_or_load("k", lambda: "the child's") == "the child's"
            and cache.statistics().loading == 0
            and cache.invalidate(tag="t") == 1
        )

    assert in_child(check)
    gate.go()
    assert loading.result() == "loaded"
    assert cache.get("kept") == "value"


def test_a_fork_waits_for_a_change_to_end() -> None:
    """The lock is taken first: no child finds it locked, or a value half kept."""
    cache: Cache[int] = Cache(max_size=50)
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            cache.set(number % 100, number, tags=["t"])

    workers = [Call(work) for _ in range(3)]

    def check() -> bool:
        entries = cache._kept.storage.entries()
        line = entries[0].line
        assert line is not None
        cache.set("child's", 1)
        return len(entries) == line.size - (len(entries) < 50) and cache.get("child's") == 1

    try:
        until(lambda: len(cache) == 50)
        assert all(in_child(check) for _ in range(10))
    finally:
        stop.set()
    for worker in workers:
        worker.result()


def test_a_child_of_a_cache_that_is_not_ready_starts_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lmi_runtime.caches.forks.PATIENCE_S", 0.01)
    cache: Cache[int] = Cache()
    cache.set("k", 1)

    with cache._kept.lock:
        child_is_fine = in_child(lambda: len(cache) == 0 and cache.get_or_load("k", lambda: 2) == 2)

    assert child_is_fine
    assert cache.get("k") == 1


def test_a_load_may_fork() -> None:
    """The child comes back from the load as well: what it brings is given, and not kept."""
    cache: Cache[int] = Cache()
    reading, writing = os.pipe()

    def loader() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return os.fork()

    child = cache.get_or_load("k", loader)
    if child == 0:
        try:
            fine = "k" not in cache and cache.get_or_load("k", lambda: 5) == 5
            os.write(writing, b"fine" if fine else b"not")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 10) == b"fine"
    os.close(reading)
    os.close(writing)


def test_a_cache_that_is_gone_is_not_told_of_forks() -> None:
    before = len(_followed)
    caches = [Cache() for _ in range(10)]
    assert len(_followed) >= before
    numbers = [id(cache) for cache in caches]
    del caches

    import gc

    gc.collect()
    assert not set(numbers) & set(_followed)
