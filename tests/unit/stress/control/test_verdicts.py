"""What a run is told to be when it does not end by itself, and that it always ends."""

from __future__ import annotations

import contextlib
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from lmi_runtime.stress import explore
from lmi_runtime.stress.model import Granularity, Verdict
from tests.unit.stress.control.tries import fails, holds, run, told

GRANULARITIES = list(Granularity)


def nothing(state: Any) -> None:
    """The other participant."""


class TestDeadlock:
    @staticmethod
    def locks() -> Any:
        LOCK_A = threading.Lock()
        LOCK_B = threading.Lock()
        return SimpleNamespace(a=LOCK_A, b=LOCK_B)

    def test_two_locks_in_two_orders(self) -> None:
        def ab(state: Any) -> None:
            with state.a, state.b:
                pass

        def ba(state: Any) -> None:
            with state.b, state.a:
                pass

        found = fails(self.locks, [ab, ba], oracle="deadlock")
        assert found.preemptions == 1
        assert found.object_path == "LOCK_A, LOCK_B"
        assert sorted(found.cycle) == [
            "ab holds LOCK_A and waits for LOCK_B, held by ba",
            "ba holds LOCK_B and waits for LOCK_A, held by ab",
        ]

    def test_one_lock_taken_twice(self) -> None:
        def twice(state: Any) -> None:
            with state.a, state.a:
                pass

        found = fails(self.locks, [twice, nothing], oracle="deadlock")
        assert found.preemptions == 0
        assert found.sentence == (
            "Deadlock: twice holds LOCK_A and waits for LOCK_A, held by twice."
        )

    def test_two_that_wait_for_each_others_end(self) -> None:
        def join(number: int) -> Any:
            def joins(state: Any) -> None:
                state.threads[number] = threading.current_thread()
                state.ready[number].set()
                state.ready[1 - number].wait()
                state.threads[1 - number].join()

            joins.__name__ = f"joins {1 - number}"
            return joins

        def setup() -> Any:
            return SimpleNamespace(
                threads=[None, None], ready=[threading.Event(), threading.Event()]
            )

        found = fails(setup, [join(0), join(1)], oracle="deadlock")
        assert found.preemptions == 0
        assert sorted(found.cycle) == [
            "joins 0 waits for joins 1 to end",
            "joins 1 waits for joins 0 to end",
        ]

    def test_a_lock_nobody_gives_back(self) -> None:
        found = fails(
            self.locks,
            [lambda state: state.a.acquire(), lambda state: state.a.acquire()],
            oracle="deadlock",
        )
        assert "(done)" in found.sentence

    def test_the_next_run_begins_with_free_locks(self) -> None:
        lock: list[Any] = []

        def setup() -> Any:
            lock[:] = lock or [threading.Lock()]
            return lock[0]

        def forget(state: Any) -> None:
            assert state.acquire(timeout=1)

        holds(setup, [forget, nothing], schedules=50, preemptions=0)


class TestLivelock:
    def test_two_that_spin_for_each_other(self) -> None:
        def spin(state: Any) -> None:
            while not state.flag:
                pass

        execution = run(
            lambda: SimpleNamespace(flag=False), [spin, spin], max_points=20_000, usual_points=5
        )
        assert [each.oracle for each in execution.complaints] == ["livelock"]

    def test_a_flag_nobody_sets_after_some_schedule(self) -> None:
        def spin(state: Any) -> None:
            while not state.flag:
                pass

        def tell(state: Any) -> None:
            if not state.seen:
                state.seen = True
                state.flag = True

        def steal(state: Any) -> None:
            if not state.seen:
                state.seen = True
                time.sleep(0)
                state.flag = state.flag and state.seen

        fails(
            lambda: SimpleNamespace(flag=False, seen=False),
            [tell, spin, steal],
            oracle="livelock",
        )

    def test_sleeping_for_a_flag_nobody_sets(self) -> None:
        def poll(state: Any) -> None:
            while not state.flag:
                time.sleep(0.01)

        execution = run(lambda: SimpleNamespace(flag=False), [poll, nothing])
        assert [each.oracle for each in execution.complaints] == ["livelock"]

    @pytest.mark.parametrize("granularity", GRANULARITIES)
    def test_without_anything_to_compare_with_nothing_is_claimed(
        self, granularity: Granularity
    ) -> None:
        def spin(state: Any) -> None:
            while True:
                state.n += 1

        execution = run(
            lambda: SimpleNamespace(n=0),
            [spin, nothing],
            granularity=granularity,
            max_points=3_000,
        )
        assert not execution.complaints
        assert "spin was stopped after 3001 switch points" in execution.uncontrolled[0]


class TestFairness:
    @pytest.mark.parametrize("granularity", GRANULARITIES)
    def test_a_loop_that_looks_gives_way(self, granularity: Granularity) -> None:
        def spin(state: Any) -> None:
            while not state.flag:
                pass

        def tell(state: Any) -> None:
            state.flag = True

        execution = run(lambda: SimpleNamespace(flag=False), [spin, tell], granularity=granularity)
        assert not execution.complaints
        assert all(end.finished for end in execution.ended)

    def test_under_every_schedule(self) -> None:
        def spin(state: Any) -> None:
            while not state.flag:
                pass

        def sleep(state: Any) -> None:
            while not state.flag:
                time.sleep(0)

        def tell(state: Any) -> None:
            state.flag = True

        def setup() -> Any:
            return SimpleNamespace(flag=False)

        holds(setup, [spin, tell], preemptions=1)
        holds(setup, [sleep, tell], preemptions=1)

    def test_two_that_wait_for_each_other_in_turn(self) -> None:
        def ping(state: Any) -> None:
            for turn in (0, 2, 4):
                while state.turn != turn:
                    pass
                state.turn += 1

        def pong(state: Any) -> None:
            for turn in (1, 3, 5):
                while state.turn != turn:
                    pass
                state.turn += 1

        holds(
            lambda: SimpleNamespace(turn=0),
            [ping, pong],
            lambda state: state.turn == 6,
            preemptions=1,
        )

    def test_long_and_finite_is_no_livelock(self) -> None:
        def long(state: Any) -> None:
            for _ in range(3_000):
                state.n += 1

        execution = run(lambda: SimpleNamespace(n=0), [long, nothing], usual_points=10)
        assert not execution.complaints
        assert not execution.uncontrolled

    def test_many_sleeps_are_no_livelock(self) -> None:
        def patient(state: Any) -> None:
            until = time.monotonic() + 3_000
            while time.monotonic() < until:
                time.sleep(1)

        execution = run(lambda: SimpleNamespace(n=0), [patient, nothing])
        assert not execution.complaints
        assert not execution.uncontrolled

    def test_waiting_for_the_clock_ends(self) -> None:
        def patient(state: Any) -> None:
            until = time.monotonic() + 1
            while time.monotonic() < until:
                pass

        execution = run(lambda: None, [patient, nothing])
        assert all(end.finished for end in execution.ended)


class TestUnwinding:
    def test_catching_everything_stops_nobody(self) -> None:
        def stubborn(state: Any) -> None:
            while True:
                with contextlib.suppress(BaseException):
                    state.acquire()

        def setup() -> Any:
            lock = threading.Lock()
            lock.acquire()
            return lock

        execution = run(setup, [stubborn, nothing])
        assert [each.oracle for each in execution.complaints] == ["deadlock"]
        assert not execution.ended[0].finished

    @pytest.mark.parametrize("kind", ["Lock", "RLock"])
    def test_what_is_waited_for_is_not_owned_while_it_unwinds(self, kind: str) -> None:
        errors: list[BaseException] = []

        def wait(state: Any) -> None:
            try:
                with state:
                    state.wait()
            except Exception as error:
                errors.append(error)

        def setup() -> Any:
            return threading.Condition(getattr(threading, kind)())

        execution = run(setup, [wait, wait])
        assert [each.oracle for each in execution.complaints] == ["deadlock"]
        assert not errors


def test_a_single_participant_just_ends() -> None:
    report = explore(lambda: None, [nothing])
    assert report.verdict is Verdict.PASSED, told(report)
