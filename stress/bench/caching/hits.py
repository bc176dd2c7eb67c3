"""How many hits a second."""

from __future__ import annotations

import asyncio
import math
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
    best: list[float] = []

    def call() -> None:
        done, best_s = 0, math.inf
        ready.wait()
        while not stop.is_set():
            began_s = time.perf_counter()
            spin()
            best_s = min(best_s, time.perf_counter() - began_s)
            done += 1
        turns.append(done)
        best.append(best_s)

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    ready.wait()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return _reading(sum(turns), wall_s, cpu_s, min(best))


def hits_tasks(contender: str, seconds: float) -> Reading:
    """One task goes through a thousand keys that are there."""

    async def load(key: int) -> str:
        return str(key)

    async def main() -> Reading:
        function = TASK_FUNCTIONS[contender](load)
        for key in KEYS:
            await function(key)
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        turns, best_s = 0, math.inf
        while (began_s := time.perf_counter()) < wall_s + seconds:
            for key in KEYS:
                await function(key)
            best_s = min(best_s, time.perf_counter() - began_s)
            turns += 1
        return _reading(turns, wall_s, cpu_s, best_s)

    return asyncio.run(main())


def _reading(turns: int, wall_s: float, cpu_s: float, best_s: float) -> Reading:
    hits = turns * len(KEYS)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    figures = {"per_s": hits / wall_s, "per_cpu_s": hits / cpu_s}
    # On a busy machine the fastest turn, which nobody interrupted, says what a hit costs.
    return Reading({**figures, "best_per_s": len(KEYS) / best_s})
