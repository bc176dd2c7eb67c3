"""How many leases a second."""

from __future__ import annotations

import asyncio
import threading
import time

from stress.bench.contest.worker import Reading
from stress.bench.pooling.task_pools import TaskPool, task_pool
from stress.bench.pooling.thread_pools import THREAD_POOLS
from stress.bench.pooling.wire import Wire

__all__ = ["contended_tasks", "contended_threads", "uncontended_tasks", "uncontended_threads"]

_SIZE = 8
_BATCH = 500
_WARM_UP = 2000


class _Clock:
    """Wall and CPU seconds of this process since it was made."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()

    def reading(self, leases: int) -> Reading:
        """Figures of so many leases."""
        wall_s = time.perf_counter() - self._wall_s
        cpu_s = time.process_time() - self._cpu_s
        return Reading({"per_s": leases / wall_s, "per_cpu_s": leases / cpu_s})


class _Batches:
    """
    Batches of leases until time is up, and the fastest of them.

    On a busy machine the fastest batch, which nobody interrupted, says what a lease costs.
    """

    def __init__(self, seconds: float) -> None:
        self._clock = _Clock()
        self._began_s = time.perf_counter()
        self._until_s = self._began_s + seconds
        self._best_s = float("inf")
        self._leases = 0

    def go_on(self) -> bool:
        """Begin a batch, unless time is up."""
        self._began_s = time.perf_counter()
        return self._began_s < self._until_s

    def done(self) -> None:
        """A batch is over."""
        self._best_s = min(self._best_s, time.perf_counter() - self._began_s)
        self._leases += _BATCH

    def reading(self) -> Reading:
        """Figures of all batches."""
        figures = self._clock.reading(self._leases).figures
        return Reading({**figures, "best_per_s": _BATCH / self._best_s})


def uncontended_threads(contender: str, seconds: float) -> Reading:
    """One thread leases and gives back."""
    pool = THREAD_POOLS[contender](_SIZE, Wire(), 30.0)
    pool.spin(_WARM_UP)
    batches = _Batches(seconds)
    while batches.go_on():
        pool.spin(_BATCH)
        batches.done()
    return batches.reading()


def uncontended_tasks(contender: str, seconds: float) -> Reading:
    """One task leases and gives back."""

    async def main() -> Reading:
        async with task_pool(contender, _SIZE, Wire()) as pool:
            await pool.spin(_WARM_UP)
            batches = _Batches(seconds)
            while batches.go_on():
                await pool.spin(_BATCH)
                batches.done()
            return batches.reading()

    return asyncio.run(main())


def contended_threads(contender: str, seconds: float, callers: int = 16) -> Reading:
    """Threads, two for a connection, each of which gives way once while it holds one."""
    pool = THREAD_POOLS[contender](_SIZE, Wire(), 30.0)
    pool.spin(_WARM_UP)
    counts: list[int] = []
    ready = threading.Barrier(callers + 1)
    stop = threading.Event()

    def give_way(connection: object) -> None:
        time.sleep(0)

    def call() -> None:
        leases = 0
        ready.wait()
        while not stop.is_set():
            pool.hold(give_way)
            leases += 1
        counts.append(leases)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    ready.wait()
    clock = _Clock()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return clock.reading(sum(counts))


def contended_tasks(contender: str, seconds: float, callers: int = 64) -> Reading:
    """Tasks, eight for a connection, each of which gives way once while it holds one."""

    async def main() -> Reading:
        async with task_pool(contender, _SIZE, Wire()) as pool:
            await pool.spin(_WARM_UP)
            clock = _Clock()
            until_s = time.perf_counter() + seconds
            counts = await asyncio.gather(*(_keep_leasing(pool, until_s) for _ in range(callers)))
            return clock.reading(sum(counts))

    return asyncio.run(main())


async def _keep_leasing(pool: TaskPool, until_s: float) -> int:
    async def give_way(connection: object) -> None:
        await asyncio.sleep(0)

    leases = 0
    while time.perf_counter() < until_s:
        await pool.hold(give_way)
        leases += 1
    return leases
