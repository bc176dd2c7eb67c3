"""Each run has its own of what there is one of in a process."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.stress.control import controlled
from tests.unit.stress.control.tries import holds, run


def test_it_is_one_in_a_run_and_another_one_in_the_next() -> None:
    thing = _sync.ProcessWide(object)
    before = thing()
    runs: list[set[object]] = []

    def setup() -> set[object]:
        runs.append({thing()})
        return runs[-1]

    def asks(state: set[object]) -> None:
        state.add(thing())

    for _ in range(2):
        assert not run(setup, [asks, asks]).uncontrolled

    first, second = runs
    assert len(first) == len(second) == 1
    assert len({before, *first, *second}) == 3
    assert thing() is before


def test_who_takes_no_part_keeps_what_there_was() -> None:
    thing = _sync.ProcessWide(object)
    before = thing()
    asked, answer = socket.socketpair()

    def outside() -> None:
        answer.recv(1)
        got.append(thing())
        answer.send(b"x")

    def lets_it_ask(state: Any) -> None:
        asked.send(b"x")
        asked.recv(1)

    got: list[object] = []
    with asked, answer, controlled():
        thread = threading.Thread(target=outside)
        thread.start()
        execution = run(lambda: None, [lets_it_ask])
        thread.join()

    assert not execution.uncontrolled
    assert got == [before]


def test_a_lock_that_was_there_before_is_under_control() -> None:
    """Its real one would be waited for in real time, by whoever holds the baton."""
    lock = _sync.ProcessWide(lambda: _sync.Lock())
    assert lock().acquire(blocking=False)

    def adds(state: SimpleNamespace) -> None:
        with lock():
            state.n += 1

    report = holds(
        lambda: SimpleNamespace(n=0), [adds, adds], lambda state: state.n == 2, preemptions=2
    )

    assert report.coverage.schedules > 1
    assert not lock().acquire(blocking=False)
