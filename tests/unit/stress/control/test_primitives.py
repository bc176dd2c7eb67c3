"""The primitives of `threading` under all schedules of two preemptions; a defect with each."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.stress.control.tries import fails, holds

State = Any


def counter(**more: Any) -> Any:
    return SimpleNamespace(n=0, **more)


def two(state: State) -> bool:
    return bool(state.n == 2)


def add(state: State) -> None:
    seen = state.n
    _pause(state)
    state.n = seen + 1


def _pause(state: State) -> None:
    """A call, so that a build with the GIL may switch here too."""


class TestLock:
    def test_excludes(self) -> None:
        def locked(state: State) -> None:
            with state.lock:
                add(state)

        holds(lambda: counter(lock=threading.Lock()), [locked, locked], two)

    def test_without_it_an_update_is_lost(self) -> None:
        assert fails(counter, [add, add], two).preemptions == 1

    def test_refused_without_waiting(self) -> None:
        def attempt(state: State) -> None:
            if state.lock.acquire(blocking=False):
                add(state)
                state.lock.release()

        found = fails(lambda: counter(lock=threading.Lock()), [attempt, attempt], two)
        assert found.preemptions == 1

    def test_a_timeout_passes_in_virtual_time(self) -> None:
        def hold(state: State) -> None:
            with state.lock:
                state.event.wait()

        def attempt(state: State) -> None:
            if not state.lock.acquire(timeout=3600):
                state.n = 2
            else:
                state.n = 2
                state.lock.release()
            state.event.set()

        holds(lambda: counter(lock=threading.Lock(), event=threading.Event()), [hold, attempt], two)

    def test_may_be_released_by_another(self) -> None:
        def setup() -> State:
            state = counter(lock=threading.Lock())
            state.lock.acquire()
            return state

        def wait(state: State) -> None:
            state.lock.acquire()
            state.n = 2

        holds(setup, [wait, lambda state: state.lock.release()], two)

    def test_arguments_are_checked_as_ever(self) -> None:
        def wrong(state: State) -> None:
            with pytest.raises(ValueError, match="non-blocking"):
                state.acquire(False, 1)
            with pytest.raises(ValueError, match="non-negative"):
                state.acquire(True, -2)
            with pytest.raises(RuntimeError):
                state.release()
            assert not state.locked()

        holds(lambda: threading.Lock(), [wrong, lambda state: None])


class TestRLock:
    def test_may_be_taken_again(self) -> None:
        def nested(state: State) -> None:
            with state.lock, state.lock:
                add(state)

        holds(lambda: counter(lock=threading.RLock()), [nested, nested], two)

    def test_given_back_too_early(self) -> None:
        def nested(state: State) -> None:
            with state.lock:
                state.lock.acquire()
                state.lock.release()
                state.lock.release()
                add(state)
                state.lock.acquire()

        fails(lambda: counter(lock=threading.RLock()), [nested, nested], two)

    def test_is_its_owners(self) -> None:
        def release(state: State) -> None:
            with pytest.raises(RuntimeError, match="un-acquired"):
                state.lock.release()

        def setup() -> State:
            return counter(lock=threading.RLock())

        def take(state: State) -> None:
            with state.lock:
                _pause(state)

        holds(setup, [take, release])


class TestCondition:
    @staticmethod
    def setup() -> State:
        return counter(cond=threading.Condition(), ready=False)

    @staticmethod
    def produce(state: State) -> None:
        with state.cond:
            state.ready = True
            state.cond.notify()

    def test_waits_while_it_is_not_so(self) -> None:
        def consume(state: State) -> None:
            with state.cond:
                while not state.ready:
                    state.cond.wait()
                state.n = 2

        holds(self.setup, [consume, self.produce], two)

    def test_wait_for(self) -> None:
        def consume(state: State) -> None:
            with state.cond:
                assert state.cond.wait_for(lambda: state.ready)
                state.n = 2

        holds(self.setup, [consume, self.produce], two)

    def test_a_wakeup_is_lost(self) -> None:
        def consume(state: State) -> None:
            if not state.ready:
                with state.cond:
                    state.cond.wait()

        found = fails(self.setup, [consume, self.produce], oracle="deadlock")
        assert found.sentence.startswith("Lost wakeup: ")
        assert "waits to be notified" in found.sentence

    def test_if_instead_of_while(self) -> None:
        def setup() -> State:
            return SimpleNamespace(cond=threading.Condition(), items=[])

        def take(state: State) -> None:
            with state.cond:
                if not state.items:
                    state.cond.wait()
                state.items.pop()

        def put(state: State) -> None:
            for _ in range(2):
                with state.cond:
                    state.items.append(1)
                    state.cond.notify()

        assert "IndexError" in fails(setup, [take, take, put], oracle="exception").sentence

    def test_one_notified_of_two(self) -> None:
        def wait(state: State) -> None:
            with state.cond:
                while not state.ready:
                    state.cond.wait()

        found = fails(self.setup, [wait, wait, self.produce], oracle="deadlock")
        assert found.preemptions == 0

    def test_all_notified(self) -> None:
        def wait(state: State) -> None:
            with state.cond:
                while not state.ready:
                    state.cond.wait()

        def produce(state: State) -> None:
            with state.cond:
                state.ready = True
                state.cond.notify_all()

        holds(self.setup, [wait, wait, produce], preemptions=1, schedules=600)

    def test_times_out_when_nobody_notifies(self) -> None:
        def wait(state: State) -> None:
            with state.cond:
                assert state.cond.wait(timeout=5) is False
                assert state.cond.wait_for(lambda: False, timeout=5) is False

        holds(self.setup, [wait, lambda state: None])

    def test_needs_its_lock(self) -> None:
        def wrong(state: State) -> None:
            with pytest.raises(RuntimeError):
                state.cond.wait()
            with pytest.raises(RuntimeError):
                state.cond.notify()

        holds(self.setup, [wrong, self.produce])


class TestEvent:
    def test_comes_first_or_later(self) -> None:
        def wait(state: State) -> None:
            assert state.event.wait()
            state.seen = state.n

        def tell(state: State) -> None:
            state.n = 2
            state.event.set()

        holds(
            lambda: counter(event=threading.Event(), seen=0),
            [wait, tell],
            lambda state: state.seen == 2,
        )

    def test_told_before_the_work(self) -> None:
        def wait(state: State) -> None:
            state.event.wait()
            state.seen = state.n

        def tell(state: State) -> None:
            state.event.set()
            state.n = 2

        fails(
            lambda: counter(event=threading.Event(), seen=0),
            [wait, tell],
            lambda state: state.seen == 2,
        )

    def test_times_out(self) -> None:
        def wait(state: State) -> None:
            assert state.wait(10) is False
            assert not state.is_set()

        holds(lambda: threading.Event(), [wait, lambda state: None])

    def test_cleared_between(self) -> None:
        def wait(state: State) -> None:
            if not state.is_set():
                state.wait()

        def tell(state: State) -> None:
            state.set()
            state.clear()

        assert fails(lambda: threading.Event(), [wait, tell], oracle="deadlock").sentence


class TestSemaphore:
    def test_one_at_a_time(self) -> None:
        def locked(state: State) -> None:
            with state.sem:
                add(state)

        holds(lambda: counter(sem=threading.Semaphore(1)), [locked, locked], two)

    def test_two_at_a_time(self) -> None:
        def locked(state: State) -> None:
            with state.sem:
                add(state)

        fails(lambda: counter(sem=threading.Semaphore(2)), [locked, locked], two)

    def test_refused_and_timed_out(self) -> None:
        def attempt(state: State) -> None:
            assert not state.acquire(blocking=False)
            assert not state.acquire(timeout=3)

        holds(lambda: threading.Semaphore(0), [attempt, lambda state: None])

    def test_a_bounded_one_counts(self) -> None:
        def work(state: State) -> None:
            with state:
                pass

        def twice(state: State) -> None:
            with state:
                pass
            state.release()

        holds(lambda: threading.BoundedSemaphore(1), [work, work])
        found = fails(lambda: threading.BoundedSemaphore(1), [work, twice], oracle="exception")
        assert "ValueError" in found.sentence


class TestBarrier:
    def test_nobody_passes_before_all_came(self) -> None:
        def come(state: State) -> None:
            state.came.append(1)
            state.barrier.wait()
            assert len(state.came) == 2

        holds(lambda: SimpleNamespace(barrier=threading.Barrier(2), came=[]), [come, come])

    def test_one_too_few(self) -> None:
        def come(state: State) -> None:
            state.wait()

        found = fails(lambda: threading.Barrier(3), [come, come], oracle="deadlock")
        assert found.preemptions == 0

    def test_is_broken_by_a_timeout(self) -> None:
        def come(state: State) -> None:
            with pytest.raises(threading.BrokenBarrierError):
                state.wait(timeout=4)
            assert state.broken

        holds(lambda: threading.Barrier(3), [come, come], preemptions=1)

    def test_is_broken_by_abort(self) -> None:
        def come(state: State) -> None:
            with pytest.raises(threading.BrokenBarrierError):
                state.wait()

        holds(lambda: threading.Barrier(2), [come, lambda state: state.abort()])
