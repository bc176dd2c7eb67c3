"""A lock that does something at the worst moment, and says what is not so."""

from __future__ import annotations

import threading

import pytest

from lmi_runtime.stress.tools import LyingLock
from tests.support.patience import PATIENCE_S


def in_a_thread(body: object) -> None:
    thread = threading.Thread(target=body, daemon=True)  # type: ignore[arg-type]
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


class Account:
    """Reads under the lock and writes under the lock, and not both under one."""

    def __init__(self, lock: object) -> None:
        self.lock: LyingLock = lock  # type: ignore[assignment]
        self.balance = 1

    def withdraw(self) -> bool:
        with self.lock:
            enough = self.balance > 0
        if not enough:
            return False
        with self.lock:
            self.balance -= 1
        return True


def test_gap_between_two_sections_is_filled() -> None:
    account = Account(None)
    account.lock = LyingLock(after_release=lambda: in_a_thread(account.withdraw))

    assert account.withdraw()
    assert account.balance == -1


def test_ordinary_lock_when_told_nothing() -> None:
    lock = LyingLock()

    with lock:
        assert lock.locked()
        assert not lock.acquire(blocking=False)
    assert not lock.locked()
    with pytest.raises(RuntimeError):
        lock.release()


def test_each_callback_at_its_moment_as_often_as_said() -> None:
    seen = []

    def note(what: str) -> object:
        return lambda: seen.append((what, lock.locked()))

    lock = LyingLock(
        before_acquire=note("before"),  # type: ignore[arg-type]
        after_acquire=note("acquired"),  # type: ignore[arg-type]
        before_release=note("releasing"),  # type: ignore[arg-type]
        after_release=note("after"),  # type: ignore[arg-type]
        times=2,
    )
    for _ in range(3):
        with lock:
            pass

    once = [("before", False), ("acquired", True), ("releasing", True), ("after", False)]
    assert seen == once * 2


def test_callback_may_use_the_lock_itself() -> None:
    seen = []

    def use() -> None:
        with lock:
            seen.append(1)

    lock = LyingLock(before_acquire=use, times=5)
    with lock:
        pass

    assert seen == [1]


def test_callback_that_raises_leaves_an_ordinary_lock() -> None:
    lock = LyingLock(before_acquire=lambda: 1 / 0, times=2)

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            lock.acquire()
    with lock:
        pass


def test_pretends_to_be_taken_to_those_who_may_fail() -> None:
    lock = LyingLock()
    lock.pretend_taken(2)

    assert lock.acquire()  # would wait for ever, so it is not lied to
    lock.release()
    assert not lock.acquire(blocking=False)
    assert not lock.acquire(timeout=1)
    assert not lock.locked()
    assert lock.acquire(timeout=1)


def test_pretends_to_be_free_and_is_not_released_by_whom_it_lied_to() -> None:
    lock, inside = LyingLock(), []
    with lock:
        lock.pretend_free()

        def enter() -> None:
            with lock:
                inside.append(lock.locked())

        in_a_thread(enter)
        assert lock.locked()

    assert inside == [True]
    assert not lock.locked()


def test_one_lie_is_given_back_once() -> None:
    lock = LyingLock()
    lock.pretend_free()
    with lock:
        assert not lock.locked()

    with lock:
        assert lock.locked()
    assert not lock.locked()


def test_wraps_a_lock_that_is_there() -> None:
    real = threading.RLock()
    lock = LyingLock(real)

    with lock, lock:
        pass
