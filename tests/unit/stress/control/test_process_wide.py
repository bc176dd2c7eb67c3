"""Each run has its own of what there is one of in a process."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.pools import Pool
from lmi_runtime.pools.keeper import keeper
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


def test_what_looks_after_pools_is_in_the_run_it_is_needed_in() -> None:
    """Also in the second, although it ended in the middle of the first."""
    kept: list[tuple[bool, bool]] = []
    before: Pool[object] = Pool(object, max_size=1)
    with before.lease():  # and with the thread that looks after this one going on
        pass

    def leases(pool: Pool[object]) -> None:
        with pool.lease():
            kept.append((keeper() is pool._engine.keeper, keeper() is before._engine.keeper))

    runs = [run(lambda: Pool(object, max_size=1), [leases, leases]) for _ in range(2)]

    assert [each.uncontrolled for each in runs] == [(), ()]
    assert runs[0].threads == runs[1].threads == 4  # one opens, one looks after it
    assert runs[0].decisions == runs[1].decisions
    before.close()
    assert kept == [(True, False)] * 4
