"""Many callers, one key that nobody has."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Sequence

from stress.bench.caching.task_caches import TASK_FUNCTIONS, AsyncFunction
from stress.bench.caching.thread_caches import THREAD_FUNCTIONS, Function
from stress.bench.contest.worker import Reading

__all__ = ["four_loops", "leader_cancelled", "stampede_tasks", "stampede_threads"]

_CALLERS = 64
_LOAD_S = 0.05
_LATE_S = 8.0
_LOOPS, _TASKS, _ROUNDS = 4, 16, 2
_GOOD, _BAD = 1, 2


class _LoadFailed(Exception):
    pass


class _Backend:
    """
    What is cached. Appending is atomic, so any thread may load.

    Attributes:
        loads: The keys that were loaded.
        broken: Whether a load of the bad key fails.
    """

    def __init__(self) -> None:
        self.loads: list[int] = []
        self.broken = True

    def load(self, key: int) -> int:
        self.loads.append(key)
        time.sleep(_LOAD_S)
        return self._result(key)

    async def aload(self, key: int) -> int:
        self.loads.append(key)
        await asyncio.sleep(_LOAD_S)
        return self._result(key)

    def _result(self, key: int) -> int:
        if key == _BAD and self.broken:
            raise _LoadFailed
        return key * 2


def stampede_threads(contender: str) -> Reading:
    """Sixty-four threads; once with a loader that succeeds, once with one that fails."""
    backend = _Backend()
    function = THREAD_FUNCTIONS[contender](backend.load)
    good, good_s = _at_once(function, _GOOD)
    bad, bad_s = _at_once(function, _BAD)
    backend.broken = False
    after, _ = _at_once(function, _BAD, callers=1)
    return _reading(backend, (good, good_s), (bad, bad_s), after)


def _at_once(function: Function, key: int, callers: int = _CALLERS) -> tuple[list[object], float]:
    """What each of the callers gets that is served in time, and how long all took."""
    ready = threading.Barrier(callers + 1)
    results: list[object] = []

    def call() -> None:
        ready.wait()
        try:
            results.append(function(key))
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=call, daemon=True) for _ in range(callers)]
    for thread in threads:
        thread.start()
    ready.wait()
    started_s = time.perf_counter()
    for thread in threads:
        thread.join(max(0.0, started_s + _LATE_S - time.perf_counter()))
    return list(results), time.perf_counter() - started_s


def stampede_tasks(contender: str) -> Reading:
    """The same with sixty-four tasks of one loop."""

    async def main() -> Reading:
        backend = _Backend()
        function = TASK_FUNCTIONS[contender](backend.aload)
        good, good_s = await _all_at_once(function, _GOOD)
        bad, bad_s = await _all_at_once(function, _BAD)
        backend.broken = False
        after, _ = await _all_at_once(function, _BAD, callers=1)
        return _reading(backend, (good, good_s), (bad, bad_s), after)

    return asyncio.run(main())


async def _all_at_once(
    function: AsyncFunction, key: int, callers: int = _CALLERS
) -> tuple[list[object], float]:
    started_s = time.perf_counter()
    tasks = [asyncio.ensure_future(function(key)) for _ in range(callers)]
    results = await _results(tasks)
    return results, time.perf_counter() - started_s


async def _results(tasks: Iterable[asyncio.Future[object]]) -> list[object]:
    """Of those that end in time; the others are cancelled."""
    done, late = await asyncio.wait(list(tasks), timeout=_LATE_S)
    for task in late:
        task.cancel()
    return [
        asyncio.CancelledError() if task.cancelled() else task.exception() or task.result()
        for task in done
    ]


def _reading(
    backend: _Backend,
    good: tuple[Sequence[object], float],
    bad: tuple[Sequence[object], float],
    after: Sequence[object],
) -> Reading:
    # The last caller came when the loader had been mended.
    loads_bad = backend.loads.count(_BAD) - 1
    return Reading(
        {
            "loads": backend.loads.count(_GOOD),
            "served": good[0].count(_GOOD * 2),
            "wall_ms": good[1] * 1000,
            "failed_loads": loads_bad,
            "told": sum(isinstance(result, _LoadFailed) for result in bad[0]),
            "failed_wall_ms": bad[1] * 1000,
            "mended": after.count(_BAD * 2),
        }
    )


def leader_cancelled(contender: str) -> Reading:
    """Sixty-four tasks; the first is cancelled while it loads."""

    async def main() -> Reading:
        backend = _Backend()
        function = TASK_FUNCTIONS[contender](backend.aload)
        leader = asyncio.ensure_future(function(_GOOD))
        await asyncio.sleep(_LOAD_S / 10)
        others = [asyncio.ensure_future(function(_GOOD)) for _ in range(_CALLERS - 1)]
        await asyncio.sleep(_LOAD_S / 5)
        leader.cancel()
        return _fates(await _results(others), len(others), backend)

    return asyncio.run(main())


def _fates(results: Sequence[object], callers: int, backend: _Backend) -> Reading:
    cancelled = sum(isinstance(result, asyncio.CancelledError) for result in results)
    right = results.count(_GOOD * 2)
    return Reading(
        {
            "right": right,
            "cancelled": cancelled,
            "errors": len(results) - right - cancelled,
            "hung": callers - len(results),
            "loads": len(backend.loads),
        }
    )


def four_loops(contender: str) -> Reading:
    """Four threads with a loop each and sixteen tasks in each; twice, with a new key each time."""
    backend = _Backend()
    backend.broken = False
    function = TASK_FUNCTIONS[contender](backend.aload)
    ready = threading.Barrier(_LOOPS)
    answers: list[bool] = []

    async def main() -> None:
        for key in range(1, _ROUNDS + 1):
            ready.wait(timeout=4 * _LATE_S)
            results, _ = await _all_at_once(function, key, callers=_TASKS)
            answers.extend(result == key * 2 for result in results)

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(_LOOPS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Reading(
        {
            "right": sum(answers),
            "of": _LOOPS * _TASKS * _ROUNDS,
            "loads": len(backend.loads) / _ROUNDS,
        }
    )
