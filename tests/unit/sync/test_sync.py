"""The seam: threads in a context that somebody chose, and counters that lose nothing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any

import pytest

from lmi_runtime import _sync
from tests.support.patience import PATIENCE_S

whose: ContextVar[str] = ContextVar("whose", default="nobody")


def told_by_thread(**options: Any) -> str:
    seen: list[str] = []
    _sync.spawn(lambda: seen.append(whose.get()), name="test", **options).join(10)
    return seen[0]


def test_a_thread_starts_in_no_ones_context() -> None:
    """Free-threaded builds would hand it the one of whoever started it."""
    token = whose.set("me")
    try:
        assert told_by_thread() == "nobody"
    finally:
        whose.reset(token)


def test_a_thread_runs_in_the_context_it_was_given() -> None:
    context = Context()
    context.run(whose.set, "you")

    assert told_by_thread(context=context) == "you"


def test_what_ends_a_thread_is_reported_with_its_context() -> None:
    context = Context()
    context.run(whose.set, "you")
    seen: list[Any] = []
    before = _sync.swap_thread_excepthook(seen.append)
    try:
        _sync.spawn(lambda: 1 / 0, name="broken", context=context).join(10)
    finally:
        assert _sync.swap_thread_excepthook(before) == seen.append

    [args] = seen
    assert args.exc_type is ZeroDivisionError
    assert isinstance(args.thread, _sync.ContextThread)
    assert args.thread.context.run(whose.get) == "you"


@pytest.mark.parametrize("daemon", [True, False])
def test_a_thread_keeps_the_process_alive_only_if_asked_to(daemon: bool) -> None:
    thread = _sync.spawn(lambda: None, name="test", daemon=daemon)
    thread.join(PATIENCE_S)

    assert thread.daemon is daemon
    assert thread.name == "test"


def test_a_counter_says_what_it_has_come_to() -> None:
    counter = _sync.Counter()

    assert (counter.add(), counter.add(5), counter.add(-2)) == (1, 6, 4)
    assert counter.value == 4


class LyingLock:
    """Lets another thread in just before it is taken, which is the worst moment there is."""

    def __init__(self, other: Callable[[], object]) -> None:
        self._other = other

    def __enter__(self) -> None:
        self._other()

    def __exit__(self, *_: object) -> None: ...


def test_an_addition_that_meets_another_loses_neither() -> None:
    """What was there is read under the lock, and not before."""
    counter = _sync.Counter()
    lock = counter._lock

    def other_thread() -> None:
        counter._lock = lock
        counter.add(10)

    counter._lock = LyingLock(other_thread)  # type: ignore[assignment]

    assert counter.add(1) == 11


def test_threads_that_count_together_lose_nothing() -> None:
    counter = _sync.Counter()
    switch_interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            _sync.spawn(lambda: [counter.add() for _ in range(2_000)], name=f"adds-{n}")
            for n in range(4)
        ]
        for thread in threads:
            thread.join(PATIENCE_S)
    finally:
        sys.setswitchinterval(switch_interval_s)

    assert counter.value == 8_000


def test_the_seam_makes_what_the_standard_library_makes() -> None:
    assert _sync.Lock is threading.Lock
    assert _sync.current_thread_id() == threading.get_ident()
    assert _sync.thread_count() == threading.active_count()
