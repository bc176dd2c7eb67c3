"""The same schedule is the same run: in one process, in others, and after thousands."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lmi_runtime.stress.callables import CallableProgram
from lmi_runtime.stress.control import controlled, execute
from lmi_runtime.stress.model import Granularity, Schedule
from lmi_runtime.stress.program import Execution, RunOptions
from lmi_runtime.stress.search.chooser import RandomWalk, Scripted
from tests.support.patience import PATIENCE_S

PROJECT = Path(__file__).parents[4]


class Node:
    """Something that only its own circle refers to."""

    def __init__(self) -> None:
        self.me = self


def pool(state: Any) -> None:
    def add(number: int) -> None:
        state.n += number
        state.seen.append((number, threading.current_thread().name))

    with ThreadPoolExecutor(3) as workers:
        wait({workers.submit(add, number) for number in range(3)})


def set_of_threads(state: Any) -> None:
    def add() -> None:
        state.n += 1
        state.seen.append(threading.current_thread().name)

    threads = {threading.Thread(target=add) for _ in range(3)}
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def weak(state: Any) -> None:
    node = Node()
    weakref.finalize(node, lambda: state.seen.append("gone"))
    known = weakref.WeakSet([node])
    del node
    state.n += len(known)
    state.seen.append({str(uuid.uuid4()), os.urandom(2).hex()} and time.monotonic())


PROGRAMS: list[Callable[[Any], None]] = [pool, set_of_threads, weak]


def program(participant: Callable[[Any], None]) -> CallableProgram:
    return CallableProgram(
        lambda: SimpleNamespace(n=0, seen=[]),
        lambda state: [lambda: participant(state), lambda: participant(state)],
        None,
        participant.__name__,
    )


def of(execution: Execution) -> tuple[Any, ...]:
    return (
        [decision[:5] for decision in execution.decisions],
        execution.points,
        [each.sentence for each in execution.complaints],
    )


@pytest.mark.parametrize("participant", PROGRAMS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("granularity", [Granularity.GIL, Granularity.FREE_THREADED])
def test_the_same_choices_are_the_same_run(
    participant: Callable[[Any], None], granularity: Granularity
) -> None:
    options = RunOptions(granularity=granularity)
    with controlled():
        first = execute(program(participant), RandomWalk(7, 0.2), options)
        assert first.decisions
        assert not first.uncontrolled
        junk = []
        for number in range(10):
            junk.append(bytearray(number * 1000))  # so that objects lie elsewhere
            assert of(execute(program(participant), RandomWalk(7, 0.2), options)) == of(first)
            again = execute(program(participant), Scripted(first.taken), options)
            assert of(again) == of(first)


def fingerprint() -> str:
    """All of a run of each program that does not depend on the Python version."""
    schedules: list[Schedule] = [()]
    with controlled():
        return repr(
            [
                of(execute(program(participant), Scripted(schedule), RunOptions()))
                for participant in PROGRAMS
                for schedule in schedules
            ]
            + [of(execute(program(each), RandomWalk(3, 0.2), RunOptions())) for each in PROGRAMS]
        )


def test_other_processes_do_the_same() -> None:
    def there(seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", f"from {__name__} import fingerprint; print(fingerprint())"],
            cwd=PROJECT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        ).stdout.strip()

    first = there("1")
    assert "preempt" in first
    assert there("2") == first
    assert fingerprint() == first


def test_nothing_is_left_behind_by_many_runs() -> None:
    subjects = [program(participant) for participant in (set_of_threads, weak)]
    recorded = RunOptions(record=True)

    def runs(number: int) -> tuple[int, int, int]:
        for _ in range(number):
            for subject in subjects:
                execute(subject, Scripted(()), RunOptions())
        execute(subjects[0], Scripted(()), recorded)
        gc.collect()
        return len(gc.get_objects()), threading.active_count(), sys.getallocatedblocks()

    with controlled():
        runs(40)
        objects, threads, blocks = runs(40)
        more_objects, more_threads, more_blocks = runs(120)
    assert more_objects - objects < 100
    assert more_threads <= threads
    # Not pages of memory: what other tests of the process left free in them comes and goes.
    assert more_blocks - blocks < 200


def test_no_collector_runs_in_a_run() -> None:
    def participant(state: Any) -> None:
        state.seen.append(gc.isenabled())
        assert not gc.isenabled()

    execution = execute(program(participant), Scripted(()), RunOptions())
    assert [end.error for end in execution.ended] == [None, None]
    assert gc.isenabled()
