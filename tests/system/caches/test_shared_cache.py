"""A shared cache in real processes: one load for all of them, and none that holds up the others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENCE_S
from tests.support.repository import REPOSITORY

pytestmark = pytest.mark.system

# Everything happens in processes forked by one that has no threads: it is what a worker does.
PRELUDE = """
import json, os, signal, sys, threading, time
from lmi_runtime.caches.shared import SharedCache

KIND, DIRECTORY = sys.argv[1:]
cache = SharedCache("test", store=KIND, directory=DIRECTORY)

def crew(count, body):
    "Run `body(number)` in that many children; what they return, as far as they live to say it."
    pipes = []
    for number in range(count):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(reading)
                os.write(writing, json.dumps(body(number)).encode())
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        pipes.append((pid, reading))
    return pipes

def answers(pipes):
    result = []
    for pid, reading in pipes:
        with open(reading, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(pid, 0)
        result.append(json.loads(said) if said else None)
    return result

def say(value):
    print(json.dumps(value))

def gate(reading):
    "Let all go on at once: the end of a pipe is seen by everyone."
    os.read(reading, 1)
"""

Play = Callable[[str], Any]


@pytest.fixture(params=["sqlite", "lmdb"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Run code after the prelude in a process of its own; what it said."""
    if request.param == "lmdb":
        pytest.importorskip("lmdb")

    def run(code: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PRELUDE + code, request.param, str(tmp_path)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_sixteen_processes_load_once(play: Play) -> None:
    said = play(
        """
reading, writing = os.pipe()
loads_r, loads_w = os.pipe()

def load():
    os.write(loads_w, b"L")
    time.sleep(0.05)
    return {"made": "once"}

def body(number):
    os.close(writing)
    gate(reading)
    return cache.get_or_load("k", load)

pipes = crew(16, body)
os.close(writing)
results = answers(pipes)
os.close(loads_w)
say([results, len(os.read(loads_r, 100))])
"""
    )

    assert said == [[{"made": "once"}] * 16, 1]


def test_tasks_of_several_processes_load_once(play: Play) -> None:
    said = play(
        """
import asyncio
loads_r, loads_w = os.pipe()

async def load():
    os.write(loads_w, b"L")
    await asyncio.sleep(0.05)
    return 5

async def ask():
    return await asyncio.gather(*(cache.aget_or_load("k", load) for _ in range(8)))

results = answers(crew(4, lambda number: asyncio.run(ask())))
os.close(loads_w)
say([results, len(os.read(loads_r, 100))])
"""
    )

    assert said == [[[5] * 8] * 4, 1]


def test_a_killed_leader_is_replaced_within_a_fifth_of_a_second(play: Play) -> None:
    results, late_s = play(
        """
leading_r, leading_w = os.pipe()

def lead(number):
    def load():
        os.write(leading_w, b"x")
        time.sleep(60)
    return cache.get_or_load("k", load)

(leader,) = crew(1, lead)
os.read(leading_r, 1)

def follow(number):
    def load():
        return time.monotonic()
    return cache.get_or_load("k", load)

pipes = crew(4, follow)
# They wait for the leader by now, and look more seldom the longer that takes.
time.sleep(0.5)
killed_s = time.monotonic()
os.kill(leader[0], signal.SIGKILL)
results = answers(pipes)
say([results, results[0] - killed_s])
"""
    )

    assert len(set(results)) == 1
    assert 0 < late_s < 0.2


def test_a_child_uses_the_cache_of_its_parent_and_the_parent_goes_on(play: Play) -> None:
    said = play(
        """
cache.set("before", 1)
results = []
for number in range(10):
    def body(number):
        cache.set(f"child{number}", number)
        return [cache.get("before"), cache.get("parent"), cache.statistics().store_failures]
    cache.set("parent", number)
    results += answers(crew(1, lambda _: body(number)))
say([results, [cache.get(f"child{number}") for number in range(10)],
     cache.statistics().store_failures])
"""
    )

    assert said == [[[1, number, 0] for number in range(10)], list(range(10)), 0]


def test_forks_while_threads_use_the_cache(play: Play) -> None:
    children, failures, answers = play(
        """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # to fork with threads is what is tested
stop = threading.Event()
wrong = []

def busy(number):
    step = 0
    while not stop.is_set():
        step += 1
        cache.set(("t", number), step)
        if cache.get(("t", number)) != step:
            wrong.append(number)
        if cache.get_or_load(("load", number, step), lambda: step) != step:
            wrong.append(number)

threads = [threading.Thread(target=busy, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()

def body(number):
    cache.set(("c", number), number)
    return [cache.get(("c", number)), cache.get_or_load(("l", number), lambda: number)]

children = []
for number in range(20):
    children += answers(crew(1, lambda _: body(number)))
stop.set()
for thread in threads:
    thread.join()
say([children, cache.statistics().store_failures, wrong])
"""
    )

    assert children == [[number, number] for number in range(20)]
    assert failures == 0
    assert answers == []


def test_writers_that_are_killed_leave_a_cache_that_works(play: Play) -> None:
    said = play(
        """
written_r, written_w = os.pipe()

def write(number):
    while True:
        for key in range(50):
            cache.set(key, [key] * 200)
        os.write(written_w, b"w")

for _ in range(5):
    pipes = crew(3, write)
    os.read(written_r, 1)
    for pid, _ in pipes:
        os.kill(pid, signal.SIGKILL)
    answers(pipes)
wrong = [key for key in range(50) if cache.get(key) not in (None, [key] * 200)]
cache.set("k", 1)
facts = cache.statistics()
say([wrong, cache.get("k"), facts.store_failures, facts.store_resets, facts.entries])
"""
    )

    assert said == [[], 1, 0, 0, 51]


def test_processes_agree_on_a_new_store_when_theirs_is_garbage(play: Play, tmp_path: Path) -> None:
    """They find out together, while they use it, and go on with one store."""
    results, found, resets = play(
        """
import pathlib
for key in range(200):
    cache.set(key, "x" * 1000)
cache.close()
for path in pathlib.Path(DIRECTORY).glob("*/store-0/*"):
    if path.name != "lock.mdb":
        path.write_bytes(os.urandom(max(8192, path.stat().st_size)))

def body(number):
    cache.get(number)
    cache.set(("mine", number), number)
    return cache.statistics().store_resets

resets = answers(crew(8, body))
say([resets, [cache.get(("mine", number)) for number in range(8)], sum(resets)])
"""
    )

    assert found == list(range(8))
    assert resets == 1, results
    assert len(list(tmp_path.glob("*/broken"))) == 1
    assert len(list(tmp_path.glob("*/store-1"))) == 1


def test_sqlite_notices_garbage_in_a_file_that_is_open(tmp_path: Path) -> None:
    """Here by the checks of the file, or of the entries, while others read and write."""
    code = """
import pathlib
for key in range(500):
    cache.set(key, "x" * 1000)
ready_r, ready_w = os.pipe()
go_r, go_w = os.pipe()

def body(number):
    os.close(go_w)
    for key in range(500):
        assert cache.get(key) == "x" * 1000
    os.write(ready_w, b"r")
    os.read(go_r, 1)
    wrong = [key for key in range(500) if cache.get(key) not in (None, "x" * 1000)]
    cache.set(("mine", number), number)
    return wrong

pipes = crew(4, body)
for _ in range(4):
    os.read(ready_r, 1)
for path in pathlib.Path(DIRECTORY).glob("*/store-0/entries.db*"):
    if not path.name.endswith("-shm"):
        with path.open("r+b") as file:  # as long as it was: what is mapped must stay
            file.write(os.urandom(path.stat().st_size))
os.close(go_w)
results = answers(pipes)
say([results, [cache.get(("mine", number)) for number in range(4)]])
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + code, "sqlite", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[[]] * 4, [0, 1, 2, 3]]


def test_a_process_that_stands_still_holds_up_nobody_for_long(play: Play) -> None:
    """Whoever waits for it loads by itself when its patience ends."""
    said = play(
        """
leading_r, leading_w = os.pipe()

def lead(number):
    def load():
        os.write(leading_w, b"x")
        time.sleep(60)
    return cache.get_or_load("k", load)

(leader,) = crew(1, lead)
os.read(leading_r, 1)
os.kill(leader[0], signal.SIGSTOP)
hasty = SharedCache("test", store=KIND, directory=DIRECTORY, patience_s=0.1)
value = hasty.get_or_load("k", lambda: "mine")
os.kill(leader[0], signal.SIGKILL)
say([value, *answers([leader])])
"""
    )

    assert said == ["mine", None]
