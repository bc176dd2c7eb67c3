"""Threads that participants start, pools of them, and what belongs to one thread only."""

from __future__ import annotations

import contextvars
import logging
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from threading import Lock, Thread
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lmi_runtime.stress.control import controlled, locks
from lmi_runtime.stress.exploring import explore
from tests.unit.stress.control.tries import fails, holds, run


def counter(**more: Any) -> Any:
    return SimpleNamespace(n=0, **more)


def nothing(state: Any) -> None:
    """The other participant."""


class TestThread:
    def test_is_begun_and_joined(self) -> None:
        def parent(state: Any) -> None:
            thread = Thread(target=lambda: setattr(state, "n", 1), name="child")
            assert not thread.is_alive()
            assert thread.ident is None
            thread.start()
            assert thread.ident is not None
            thread.join()
            assert not thread.is_alive()
            assert thread.name == "child"
            assert state.n == 1

        holds(counter, [parent, nothing])

    def test_sleeping_is_no_joining(self) -> None:
        def parent(state: Any) -> None:
            Thread(target=lambda: setattr(state, "n", 1)).start()
            assert state.n == 1

        assert fails(counter, [parent, nothing], oracle="exception").preemptions <= 1

    def test_join_may_time_out(self) -> None:
        def parent(state: Any) -> None:
            thread = Thread(target=state.event.wait, daemon=True)
            thread.start()
            thread.join(timeout=7)
            assert thread.is_alive()
            state.event.set()
            thread.join()

        holds(lambda: counter(event=threading.Event()), [parent, nothing], preemptions=1)

    def test_threads_start_threads(self) -> None:
        def child(state: Any, depth: int) -> None:
            if depth:
                thread = Thread(target=child, args=(state, depth - 1))
                thread.start()
                thread.join()
            with state.lock:
                state.n += 1

        holds(
            lambda: counter(lock=threading.Lock()),
            [lambda state: child(state, 2), nothing],
            lambda state: state.n == 3,
            preemptions=1,
        )

    def test_an_exception_in_one_is_told(self) -> None:
        def parent(state: Any) -> None:
            thread = Thread(target=lambda: 1 // state.n, name="child")
            thread.start()
            thread.join()

        found = fails(counter, [parent, nothing], oracle="exception")
        assert found.sentence.startswith("child ended with ZeroDivisionError")

    def test_is_itself_for_those_who_ask(self) -> None:
        def parent(state: Any) -> None:
            me = threading.current_thread()
            assert me.is_alive()
            assert me in threading.enumerate()
            assert me.ident == threading.get_ident()
            assert me.native_id == threading.get_native_id()
            assert not isinstance(me, threading._DummyThread)
            state.me = me

        state = counter(me=None)
        before = threading.enumerate()
        run(lambda: state, [parent, nothing])
        assert not state.me.is_alive()
        state.me.join()
        assert threading.enumerate() == before

    def test_default_names_are_the_same_in_every_run(self) -> None:
        names: list[str] = []

        def parent(state: Any) -> None:
            thread = Thread(target=int)
            names.append(thread.name)
            thread.start()
            thread.join()

        holds(counter, [parent, nothing], schedules=100)
        assert len(set(names)) == 1

    def test_a_daemon_that_never_ends_is_no_deadlock(self) -> None:
        def parent(state: Any) -> None:
            Thread(target=threading.Event().wait, daemon=True).start()

        holds(counter, [parent, nothing])

    def test_timer(self) -> None:
        def parent(state: Any) -> None:
            timer = threading.Timer(3600, setattr, (state, "n", 1))
            timer.start()
            timer.join()
            assert state.n == 1

        def cancels(state: Any) -> None:
            timer = threading.Timer(3600, setattr, (state, "n", 1))
            timer.start()
            timer.cancel()
            timer.join()

        holds(counter, [parent, nothing], preemptions=1)
        # It may fire before it is cancelled.
        fails(counter, [cancels, nothing], lambda state: state.n == 0)


class TestPool:
    def test_results_come_back(self) -> None:
        def parent(state: Any) -> None:
            with ThreadPoolExecutor(2) as pool:
                assert list(pool.map(str, [1, 2])) == ["1", "2"]
                assert pool.submit(int, "3").result(timeout=10) == 3

        holds(counter, [parent], preemptions=1, schedules=400)

    def test_two_workers_race(self) -> None:
        def parent(state: Any) -> None:
            def add() -> None:
                seen = state.n
                time.sleep(0)
                state.n = seen + 1

            with ThreadPoolExecutor(2) as pool:
                pool.submit(add)
                pool.submit(add)
            assert state.n == 2

        fails(counter, [parent], oracle="exception")

    def test_a_future_may_time_out(self) -> None:
        def parent(state: Any) -> None:
            with pytest.raises(FutureTimeoutError):
                Future[int]().result(timeout=3600)

        holds(counter, [parent, nothing])

    def test_exceptions_and_callbacks(self) -> None:
        def parent(state: Any) -> None:
            with ThreadPoolExecutor(1) as pool:
                future = pool.submit(int, "x")
                future.add_done_callback(lambda each: setattr(state, "n", 1))
                with pytest.raises(ValueError, match="invalid literal"):
                    future.result()
            assert state.n == 1

        holds(counter, [parent, nothing], preemptions=1)

    def test_the_only_worker_waits_for_its_own_pool(self) -> None:
        def parent(state: Any) -> None:
            pool = ThreadPoolExecutor(1)
            pool.submit(lambda: pool.submit(int).result()).result()

        found = fails(counter, [parent], oracle="deadlock")
        assert found.preemptions == 0
        assert "ThreadPoolExecutor-0_0" in found.sentence

    def test_after_shutdown_nothing_is_taken(self) -> None:
        def parent(state: Any) -> None:
            pool = ThreadPoolExecutor(1)
            pool.shutdown(wait=True)
            with pytest.raises(RuntimeError, match="shutdown"):
                pool.submit(int)

        holds(counter, [parent, nothing])


class TestTime:
    def test_is_virtual(self) -> None:
        def sleep(state: Any) -> None:
            clocks = time.monotonic, time.time, time.perf_counter
            before = [clock() for clock in clocks]
            time.sleep(3600)
            assert [clock() - then for clock, then in zip(clocks, before, strict=True)] == [
                pytest.approx(3600)
            ] * 3

        # Each of its runs would take an hour.
        holds(counter, [sleep, nothing], preemptions=1)

    def test_a_sleeper_is_late_for_nobody(self) -> None:
        def late(state: Any) -> None:
            time.sleep(1)
            state.n = 1

        def early(state: Any) -> None:
            assert state.n == 0

        fails(counter, [late, early], oracle="exception")

    def test_sleeping_backwards(self) -> None:
        def wrong(state: Any) -> None:
            with pytest.raises(ValueError, match="non-negative"):
                time.sleep(-1)

        holds(counter, [wrong, nothing])


LOCAL = threading.local()
VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


class TestOwnedByOneThread:
    def test_locals_are_new_in_every_run(self) -> None:
        def use(state: Any) -> None:
            assert not hasattr(LOCAL, "value")
            LOCAL.value = threading.get_ident()
            state.lock.acquire()
            state.lock.release()
            assert LOCAL.value == threading.get_ident()

        holds(lambda: counter(lock=threading.Lock()), [use, use], preemptions=1)

    def test_context_variables_are_each_threads(self) -> None:
        def use(state: Any) -> None:
            assert VARIABLE.get() == "unset"
            VARIABLE.set("mine")
            with state.lock:
                pass
            inside: list[str] = []
            thread = Thread(target=lambda: inside.append(VARIABLE.get()))
            thread.start()
            thread.join()
            inherits = getattr(sys.flags, "thread_inherit_context", 0)
            assert inside == ["mine" if inherits else "unset"]
            assert VARIABLE.get() == "mine"

        holds(lambda: counter(lock=threading.Lock()), [use, nothing], preemptions=1)


class TestLocksMadeElsewhere:
    def test_a_name_bound_before_control(self) -> None:
        def abba(first: str, second: str) -> Any:
            def take(state: Any) -> None:
                with getattr(state, first), getattr(state, second):
                    pass

            return take

        found = fails(
            lambda: SimpleNamespace(a=Lock(), b=Lock()),
            [abba("a", "b"), abba("b", "a")],
            oracle="deadlock",
        )
        assert found.preemptions == 1

    def test_a_lock_made_by_an_import_under_control(self, tmp_path: Path) -> None:
        path = tmp_path / "imported.py"
        path.write_text(
            "import threading\n"
            "LOCK = threading.Lock()\n"
            "N = 0\n"
            "def good():\n"
            "    with LOCK:\n"
            "        bad()\n"
            "def bad():\n"
            "    global N\n"
            "    seen = N\n"
            "    touch()\n"
            "    N = seen + 1\n"
            "def touch():\n"
            "    pass\n"
        )
        with controlled():
            module = _load(path)

            def setup() -> Any:
                module.__dict__["N"] = 0
                return module

            def two(state: Any) -> bool:
                return bool(state.N == 2)

            holds(setup, [lambda state: state.good(), lambda state: state.good()], two)
            fails(setup, [lambda state: state.bad(), lambda state: state.bad()], two)

    def test_the_locks_of_logging(self) -> None:
        class Slow(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                seen = STATE.n
                self.acquire()
                self.release()
                STATE.n = seen + 1

        class Careless(Slow):
            def handle(self, record: logging.LogRecord) -> bool:
                self.emit(record)
                return True

        STATE = counter()
        logger = logging.Logger("control")

        def setup_with(handler: logging.Handler) -> Any:
            logger.handlers[:] = [handler]

            def setup() -> Any:
                STATE.n = 0
                return STATE

            return setup

        def log(state: Any) -> None:
            logger.error("text")

        def two(state: Any) -> bool:
            return bool(state.n == 2)

        holds(setup_with(Slow()), [log, log], two, preemptions=1)
        fails(setup_with(Careless()), [log, log], two)


def _load(path: Path) -> ModuleType:
    module = ModuleType(path.stem)
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    return module


def test_a_lock_that_setup_takes_twice_is_an_error_and_no_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(locks, "_PATIENCE_S", 0.01)

    def setup() -> Any:
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

    with pytest.raises(RuntimeError, match="waits for a lock that is taken already"):
        explore(setup, [nothing])


def test_locks_made_on_one_line_are_told_apart() -> None:
    def setup() -> Any:
        return [threading.Lock() for _ in range(2)]

    def take(first: int) -> Any:
        def both(forks: Any) -> None:
            with forks[first], forks[1 - first]:
                pass

        return both

    report = explore(setup, [take(0), take(1)])

    assert report.findings[0].oracle == "deadlock"
    assert [line.partition(" waits for ")[2] for line in report.findings[0].cycle] == [
        f"the lock made at test_threads.py:{setup.__code__.co_firstlineno + 1} #2, held by both 2",
        f"the lock made at test_threads.py:{setup.__code__.co_firstlineno + 1}, held by both 1",
    ]


def test_where_a_thread_is_does_not_tell_of_the_harness() -> None:
    """One that has just given the baton away may be anywhere in there."""
    places: list[str] = []

    def looks(state: Any) -> None:
        for ident in (threading.get_ident(), state.other):
            frame = sys._current_frames()[ident]
            places.append(frame.f_code.co_name)

    def waits(state: Any) -> None:
        state.other = threading.get_ident()
        with state.lock:
            state.lock.wait_for(lambda: places)

    def setup() -> Any:
        return SimpleNamespace(lock=threading.Condition(), other=0)

    execution = run(setup, [waits, looks])

    assert execution.uncontrolled == ()
    assert places == ["looks", "wait"]


def test_a_thread_that_is_not_there_yet_or_has_ended_is_nowhere() -> None:
    """When exactly the system makes it and takes it away is under nobody's control."""
    seen: list[bool] = []

    def starts(state: Any) -> None:
        thread = threading.Thread(target=lambda: None)
        thread.start()
        seen.append(thread.ident in sys._current_frames())
        thread.join()
        seen.append(thread.ident in sys._current_frames())

    execution = run(lambda: None, [starts])

    assert execution.uncontrolled == ()
    assert seen == [False, False]
