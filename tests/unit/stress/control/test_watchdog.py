"""What is not under control is named, and is nobody's business in later runs."""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lmi_runtime.stress.control import controlled, raw
from lmi_runtime.stress.control.watchdog import Watchdog
from tests.support.patience import PATIENCE_S
from tests.unit.stress.control.tries import fails, holds, run

SHORT_S = 0.2
"""The watchdog's patience."""


def nothing(state: Any) -> None:
    """The other participant."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def gone(names: set[str]) -> bool:
    return not names & {thread.name for thread in threading.enumerate()}


def settled(condition: Callable[[], bool]) -> bool:
    """Real threads need a moment of real time."""
    pause = threading.Event()
    return any(condition() or pause.wait(0.01) for _ in range(int(PATIENCE_S / 0.01)))


def test_reading_from_a_pipe(pipe: tuple[int, int]) -> None:
    after: list[str] = []

    def reads(state: Any) -> None:
        os.read(pipe[0], 1)
        after.append("the thread went on")

    execution = run(lambda: None, [reads, nothing], watchdog_s=SHORT_S)
    (sentence,) = execution.uncontrolled
    assert "reads has given no sign of life for 0.2 s" in sentence
    assert f"{__file__}:" in sentence
    assert "`os.read(pipe[0], 1)`" in sentence
    assert not execution.complaints
    # It comes back while another run goes on, and ends without having done anything.
    again = run(lambda: None, [lambda state: os.write(pipe[1], b"x"), nothing])
    assert not again.uncontrolled
    assert settled(lambda: gone({"reads"}))
    assert not after
    assert sys.gettrace() is None or "_SettraceTracer" not in repr(sys.gettrace())


def test_receiving_from_a_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        execution = run(lambda: None, [lambda state: theirs.recv(1), nothing], watchdog_s=SHORT_S)
        assert "theirs.recv(1)" in execution.uncontrolled[0]
        ours.send(b"x")
        assert settled(lambda: gone({"<lambda>"}))


def test_waiting_for_a_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    def waits(state: Any) -> None:
        process.wait()

    try:
        execution = run(lambda: None, [waits, nothing], watchdog_s=SHORT_S)
        assert "`process.wait()`, inside" in execution.uncontrolled[0]
        assert "subprocess.py:" in execution.uncontrolled[0]
    finally:
        process.communicate(b"\n")
    assert settled(lambda: gone({"waits"}))


def test_a_lock_that_is_not_under_control() -> None:
    lock = threading.Lock()
    lock.acquire()

    def takes(state: Any) -> None:
        with lock:
            pass

    try:
        execution = run(lambda: None, [takes, nothing], watchdog_s=SHORT_S)
    finally:
        lock.release()
    assert "`with lock:`" in execution.uncontrolled[0]
    assert settled(lambda: gone({"takes"}))


def test_others_of_that_run_do_not_stay(pipe: tuple[int, int]) -> None:
    def waits(state: Any) -> None:
        state.wait()

    def reads(state: Any) -> None:
        os.read(pipe[0], 1)

    execution = run(lambda: threading.Event(), [waits, waits, reads, waits], watchdog_s=SHORT_S)
    assert [end.finished for end in execution.ended] == [False] * 4
    assert len(execution.uncontrolled) == 1
    assert gone({"waits"})
    os.write(pipe[1], b"x")
    assert settled(lambda: gone({"reads"}))


def test_waiting_a_little_again_and_again(pipe: tuple[int, int]) -> None:
    """Each return is a sign of life, and yet the run would go on for hours."""
    rounds: list[int] = []

    def polls(state: Any) -> None:
        while not select.select([pipe[0]], [], [], 0.02)[0]:
            with state:
                rounds.append(1)

    execution = run(threading.Lock, [polls, nothing], watchdog_s=SHORT_S)
    (sentence,) = execution.uncontrolled
    assert sentence.startswith("polls keeps the run waiting: it took only ")
    assert "`while not select.select(" in sentence
    assert len(rounds) > 5
    assert not execution.complaints
    os.write(pipe[1], b"x")
    assert settled(lambda: gone({"polls"}))


class Looks:
    """A watchdog with a patience of 2 s, and what it sees."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = self.cpu_s = 0.0
        monkeypatch.setattr(raw, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(raw, "process_time", lambda: self.cpu_s)
        self._watch = Watchdog(2.0, lambda _: True)
        # Nobody runs: whom it would name is not of interest here.
        self._run: Any = SimpleNamespace(
            points=0, progress=0, polls=0, waits_outside=False, decisions=[], running=None
        )

    def until_given_up(
        self, *, step_every_s: float, cpu: float, most_s: float = 300.0, steps: str = "points"
    ) -> float:
        """Real seconds until it gives the run up; infinite if it does not."""
        while self.now_s < most_s:
            self.now_s += 0.05
            self.cpu_s += 0.05 * cpu
            setattr(self._run, steps, int(self.now_s / step_every_s))
            if self._watch(self._run):
                return self.now_s
        return math.inf

    def waits_outside(self) -> None:
        self._run.waits_outside = True

    def after_a_pause(self, seconds: float) -> bool:
        """Whether it gives up a run that stood still, as it did itself."""
        self.now_s += seconds
        return self._watch(self._run)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


def test_who_takes_no_step_is_given_up(looks: Looks) -> None:
    assert looks.until_given_up(step_every_s=1e9, cpu=1.0) == pytest.approx(2.0, abs=0.2)


def test_who_mostly_waits_is_given_up_later(looks: Looks) -> None:
    assert looks.until_given_up(step_every_s=1.0, cpu=0.01) == pytest.approx(10.0, abs=0.2)


def test_who_computes_has_more_time(looks: Looks) -> None:
    """Also on a machine that others use as well."""
    assert looks.until_given_up(step_every_s=1.0, cpu=0.3) == pytest.approx(60.0, abs=0.5)


@pytest.mark.parametrize("steps", ["points", "progress", "polls"])
def test_who_goes_on_may_go_on(looks: Looks, steps: str) -> None:
    """Or sleeps again and again: that ends by the number of sleeps, on any machine."""
    assert looks.until_given_up(step_every_s=0.01, cpu=0.01, steps=steps) == math.inf


def test_a_machine_that_stood_still_is_nobodys_fault(looks: Looks) -> None:
    looks.until_given_up(step_every_s=1.0, cpu=1.0, most_s=1.0)

    assert not looks.after_a_pause(3600.0)


@contextlib.contextmanager
def outsider() -> Iterator[None]:
    """A thread that takes no part, and waits for a lock under control."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="outsider")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_who_waits_for_threads_outside_is_left_to_that(looks: Looks) -> None:
    looks.waits_outside()

    assert looks.until_given_up(step_every_s=1e9, cpu=0.0) == math.inf


class TestThreadsOutside:
    def test_one_gives_back_a_lock(self) -> None:
        taken, give_back = socket.socketpair()
        with controlled(), taken, give_back:
            lock = threading.Lock()

            def outside() -> None:
                with lock:
                    taken.send(b"x")
                    taken.recv(1)

            def first(state: Any) -> None:
                give_back.send(b"x")
                with lock:
                    pass

            thread = threading.Thread(target=outside)
            thread.start()
            give_back.recv(1)
            execution = run(lambda: None, [first, nothing])
            thread.join()
        assert not execution.uncontrolled
        assert not execution.complaints
        assert all(end.finished for end in execution.ended)

    def test_one_that_brings_nothing_is_named(self) -> None:
        with controlled():
            waits = threading.Event()
            with outsider():
                execution = run(
                    lambda: None, [lambda state: waits.wait(), nothing], watchdog_s=SHORT_S
                )
        assert "could come from outsider, outside the run" in execution.uncontrolled[0]
        assert not execution.complaints

    def test_it_is_not_asked_where_it_could_not_help(self) -> None:
        def twice(state: Any) -> None:
            with state, state:
                pass

        with controlled(), outsider():
            found = fails(lambda: threading.Lock(), [twice, nothing], oracle="deadlock")
        assert found.sentence.startswith("Deadlock: ")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_is_named() -> None:
    def forks(state: Any) -> None:
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)

    execution = run(lambda: None, [forks, nothing])
    (sentence,) = execution.uncontrolled
    assert sentence.startswith("forks forks a process at ")
    assert f"{__file__}:" in sentence


def test_a_thread_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("lmi_runtime.stress.control.raw.start_thread", refuse)
    execution = run(lambda: SimpleNamespace(), [nothing, nothing])
    assert "could not be started: can't start new thread" in execution.uncontrolled[0]


def test_runs_are_as_ever_afterwards() -> None:
    def locked(state: Any) -> None:
        with state.lock:
            state.n += 1

    holds(
        lambda: SimpleNamespace(lock=threading.Lock(), n=0),
        [locked, locked],
        lambda state: state.n == 2,
        preemptions=1,
    )
