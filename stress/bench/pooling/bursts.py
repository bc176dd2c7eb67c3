"""Many callers at once on a pool that has no connection yet."""

from __future__ import annotations

import asyncio
import threading
import time

from stress.bench.contest.worker import Reading
from stress.bench.pooling.task_pools import task_pool
from stress.bench.pooling.thread_pools import THREAD_POOLS
from stress.bench.pooling.wire import Wire

__all__ = ["burst_tasks", "burst_threads"]

_CALLERS = 64
_SIZE = 16
_CONNECT_S = 0.05
_HOLD_S = 0.001


def burst_threads(contender: str) -> Reading:
    """Sixty-four threads; opening takes 50 ms, each holds its connection for 1 ms."""
    wire = Wire(_CONNECT_S)
    pool = THREAD_POOLS[contender](_SIZE, wire, 60.0)
    ready = threading.Barrier(_CALLERS + 1)

    def call() -> None:
        ready.wait()
        pool.hold(lambda connection: time.sleep(_HOLD_S))

    threads = [threading.Thread(target=call) for _ in range(_CALLERS)]
    for thread in threads:
        thread.start()
    started_s = time.perf_counter()
    ready.wait()
    for thread in threads:
        thread.join()
    return _reading(started_s, wire)


def burst_tasks(contender: str) -> Reading:
    """The same with tasks of one loop."""

    async def main() -> Reading:
        wire = Wire(_CONNECT_S)

        async def hold(connection: object) -> None:
            await asyncio.sleep(_HOLD_S)

        async with task_pool(contender, _SIZE, wire) as pool:
            started_s = time.perf_counter()
            await asyncio.gather(*(pool.hold(hold) for _ in range(_CALLERS)))
            return _reading(started_s, wire)

    return asyncio.run(main())


def _reading(started_s: float, wire: Wire) -> Reading:
    wall_s = time.perf_counter() - started_s
    return Reading({"wall_ms": wall_s * 1000, "opened": wire.opened})
