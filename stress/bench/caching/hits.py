"""How many hits a second."""

from __future__ import annotations

import asyncio
import threading
import time

from stress.bench.caching.task_caches import TASK_FUNCTIONS
from stress.bench.caching.thread_caches import KEYS, THREAD_HITS
from stress.bench.contest.worker import Reading

__all__ = ["hits_eight_threads", "hits_one_thread", "hits_tasks"]

_THREADS = 8


def hits_one_thread(contender: str, seconds: float) -> Reading:
    """One thread goes through a thousand keys that are there."""
    return _threads(contender, seconds, 1)


def hits_eight_threads(contender: str, seconds: float) -> Reading:
    """Eight threads go through the same thousand keys."""
    return _threads(contender, seconds, _THREADS)


def _threads(contender: str, seconds: float, count: int) -> Reading:
    spin = THREAD_HITS[contender]()
    spin()
    ready = threading.Barrier(count + 1)
    stop = threading.Event()
    turns: list[int] = []

    def call() -> None:
        done = 0
        ready.wait()
        while not stop.is_set():
            spin()
            done += 1
        turns.append(done)

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    ready.wait()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return _reading(sum(turns), wall_s, cpu_s)


def hits_tasks(contender: str, seconds: float) -> Reading:
    """One task goes through a thousand keys that are there."""

    async def load(key: int) -> str:
        return str(key)

    async def main() -> Reading:
        function = TASK_FUNCTIONS[contender](load)
        for key in KEYS:
            await function(key)
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        turns = 0
        while time.perf_counter() < wall_s + seconds:
            for key in KEYS:
                await function(key)
            turns += 1
        return _reading(turns, wall_s, cpu_s)

    return asyncio.run(main())


def _reading(turns: int, wall_s: float, cpu_s: float) -> Reading:
    hits = turns * len(KEYS)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return Reading({"per_s": hits / wall_s, "per_cpu_s": hits / cpu_s})
