"""What is not under control is named, and is nobody's business in later runs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lmi_runtime.stress.control import controlled
from tests.unit.stress.control.tries import fails, holds, run

PATIENCE_S = 0.2


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
    return any(condition() or pause.wait(0.01) for _ in range(1_000))


def test_reading_from_a_pipe(pipe: tuple[int, int]) -> None:
    after: list[str] = []

    def reads(state: Any) -> None:
        os.read(pipe[0], 1)
        after.append("the thread went on")

    execution = run(lambda: None, [reads, nothing], watchdog_s=PATIENCE_S)
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
        execution = run(
            lambda: None, [lambda state: theirs.recv(1), nothing], watchdog_s=PATIENCE_S
        )
        assert "theirs.recv(1)" in execution.uncontrolled[0]
        ours.send(b"x")
        assert settled(lambda: gone({"<lambda>"}))


def test_waiting_for_a_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    def waits(state: Any) -> None:
        process.wait()

    try:
        execution = run(lambda: None, [waits, nothing], watchdog_s=PATIENCE_S)
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

    execution = run(lambda: None, [takes, nothing], watchdog_s=PATIENCE_S)
    assert "`with lock:`" in execution.uncontrolled[0]
    lock.release()
    assert settled(lambda: gone({"takes"}))


def test_others_of_that_run_do_not_stay(pipe: tuple[int, int]) -> None:
    def waits(state: Any) -> None:
        state.wait()

    def reads(state: Any) -> None:
        os.read(pipe[0], 1)

    execution = run(lambda: threading.Event(), [waits, waits, reads, waits], watchdog_s=PATIENCE_S)
    assert [end.finished for end in execution.ended] == [False] * 4
    assert len(execution.uncontrolled) == 1
    assert gone({"waits"})
    os.write(pipe[1], b"x")
    assert settled(lambda: gone({"reads"}))


class TestThreadsOutside:
    def test_one_gives_back_a_lock(self) -> None:
        with controlled():
            lock = threading.Lock()
            taken, give_back = socket.socketpair()

            def outside() -> None:
                with lock:
                    taken.send(b"x")
                    taken.recv(1)

            thread = threading.Thread(target=outside)
            thread.start()
            give_back.recv(1)

            def first(state: Any) -> None:
                give_back.send(b"x")
                with lock:
                    pass

            execution = run(lambda: None, [first, nothing])
            thread.join()
            taken.close()
            give_back.close()
        assert not execution.uncontrolled
        assert not execution.complaints
        assert all(end.finished for end in execution.ended)

    def test_one_that_brings_nothing_is_named(self) -> None:
        with controlled():
            stop, waits = threading.Event(), threading.Event()
            thread = threading.Thread(target=stop.wait, name="outsider")
            thread.start()
            execution = run(
                lambda: None, [lambda state: waits.wait(), nothing], watchdog_s=PATIENCE_S
            )
            stop.set()
            thread.join()
        assert "could come from outsider, outside the run" in execution.uncontrolled[0]
        assert not execution.complaints

    def test_it_is_not_asked_where_it_could_not_help(self) -> None:
        def twice(state: Any) -> None:
            with state, state:
                pass

        with controlled():
            stop = threading.Event()
            thread = threading.Thread(target=stop.wait)
            thread.start()
            found = fails(lambda: threading.Lock(), [twice, nothing], oracle="deadlock")
            stop.set()
            thread.join()
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
