"""Who gets connections when there are too few, and how long everybody waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean

from stress.bench.contest.worker import Reading
from stress.bench.pooling.arithmetic import ideal_wait_s, jain, percentile
from stress.bench.pooling.task_pools import OurTasks, TaskPool, task_pool
from stress.bench.pooling.thread_pools import THREAD_POOLS, OurThreads, ThreadPool, our_pool
from stress.bench.pooling.wire import Wire

__all__ = [
    "CALLERS",
    "CONNECTIONS",
    "HOLD_S",
    "Caller",
    "fair_mixed",
    "fair_tasks",
    "fair_threads",
    "read_callers",
]

CALLERS = 16
CONNECTIONS = 2
HOLD_S = 0.001
_MIXED_THREADS = 6
_MIXED_LOOPS = 2
_START_S = 20.0
_WARM_UP_S = 0.1


class Caller:
    """
    What one caller goes through. Written by itself; read, when it is over, by somebody else.

    Attributes:
        waits_s: How long it waited for each lease it asked for since `begin`, or before but had
            still to wait for then.
        holds_s: How long it really held each of those that it got.
        has_asked: Whether it has come to ask for a first one.
    """

    def __init__(self) -> None:
        self.waits_s: list[float] = []
        self.holds_s: list[float] = []
        self.has_asked = False
        self._since_s: float | None = None

    def ask(self) -> None:
        """Begin to wait."""
        self._since_s = time.perf_counter()
        self.has_asked = True

    def served(self) -> float:
        """End the wait; returns the time."""
        now_s = time.perf_counter()
        since_s, self._since_s = self._since_s, None
        assert since_s is not None
        self.waits_s.append(now_s - since_s)
        return now_s

    def begin(self) -> None:
        """Forget what was before."""
        self.waits_s, self.holds_s = [], []

    def settle(self, now_s: float) -> None:
        """A wait that is not over counts as long as it has lasted."""
        since_s = self._since_s
        if since_s is not None:
            self.waits_s.append(now_s - since_s)


def fair_threads(contender: str, seconds: float) -> Reading:
    """Sixteen threads on two connections."""
    pool = THREAD_POOLS[contender](CONNECTIONS, Wire(), 60.0)
    callers = [Caller() for _ in range(CALLERS)]
    stop = threading.Event()
    bodies = [partial(_thread, pool, caller, stop) for caller in callers]
    return _run(bodies, callers, stop, seconds)


def fair_tasks(contender: str, seconds: float) -> Reading:
    """Sixteen tasks of one loop on two connections."""

    async def main() -> None:
        async with task_pool(contender, CONNECTIONS, Wire()) as pool:
            await _tasks(pool, callers, stop)

    callers = [Caller() for _ in range(CALLERS)]
    stop = threading.Event()
    return _run([lambda: asyncio.run(main())], callers, stop, seconds)


def fair_mixed(contender: str, seconds: float) -> Reading:
    """
    Six threads and the tasks of two loops on two connections of one pool.

    Raises:
        TypeError: The contender has no pool for both.
    """
    if contender != "lmi_runtime":
        raise TypeError(f"{contender} has no pool that serves threads and tasks")
    pool = our_pool(CONNECTIONS, Wire())
    callers = [Caller() for _ in range(CALLERS)]
    stop = threading.Event()
    bodies = [partial(_thread, OurThreads(pool), c, stop) for c in callers[:_MIXED_THREADS]]
    for number in range(_MIXED_LOOPS):
        share = callers[_MIXED_THREADS + number :: _MIXED_LOOPS]
        bodies.append(partial(asyncio.run, _tasks(OurTasks(pool), share, stop)))
    return _run(bodies, callers, stop, seconds)


def _thread(pool: ThreadPool, caller: Caller, stop: threading.Event) -> None:
    def action(connection: object) -> None:
        since_s = caller.served()
        time.sleep(HOLD_S)
        caller.holds_s.append(time.perf_counter() - since_s)

    while not stop.is_set():
        caller.ask()
        pool.hold(action)


async def _tasks(pool: TaskPool, callers: Sequence[Caller], stop: threading.Event) -> None:
    await asyncio.gather(*(_task(pool, caller, stop) for caller in callers))


async def _task(pool: TaskPool, caller: Caller, stop: threading.Event) -> None:
    async def action(connection: object) -> None:
        since_s = caller.served()
        await asyncio.sleep(HOLD_S)
        caller.holds_s.append(time.perf_counter() - since_s)

    while not stop.is_set():
        caller.ask()
        await pool.hold(action)


def _run(
    bodies: Sequence[Callable[[], object]],
    callers: Sequence[Caller],
    stop: threading.Event,
    seconds: float,
) -> Reading:
    """
    Run *bodies* in threads, and look at what *callers* go through once all are served or wait.

    Raises:
        RuntimeError: One of them has failed, or nobody was ever served.
    """
    errors: list[BaseException] = []

    def guarded(body: Callable[[], object]) -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    # A contender may leave one waiting for ever; its wait is counted all the same.
    threads = [threading.Thread(target=guarded, args=(body,), daemon=True) for body in bodies]
    for thread in threads:
        thread.start()
    _await_start(callers, errors)
    for caller in callers:
        caller.begin()
    time.sleep(seconds)
    now_s = time.perf_counter()
    for caller in callers:
        caller.settle(now_s)
    # What they do from here on is no longer looked at.
    reading = read_callers(callers, seconds)
    stop.set()
    for thread in threads:
        thread.join(timeout=5.0)
    if errors:
        raise RuntimeError(f"a caller failed: {errors[0]!r}") from errors[0]
    return reading


def _await_start(callers: Sequence[Caller], errors: Sequence[BaseException]) -> None:
    until_s = time.perf_counter() + _START_S
    while not all(caller.has_asked for caller in callers):
        if errors or time.perf_counter() > until_s:
            raise RuntimeError(f"callers did not come to ask: {list(errors)!r}")
        time.sleep(0.01)
    time.sleep(_WARM_UP_S)


def read_callers(callers: Sequence[Caller], seconds: float) -> Reading:
    """
    Figures of callers that have been at it for *seconds*.

    Raises:
        RuntimeError: Nobody was ever served.
    """
    waits_s = [wait_s for caller in callers for wait_s in caller.waits_s]
    leases = [len(caller.holds_s) for caller in callers]
    if not any(leases):
        raise RuntimeError("nobody was ever served")
    hold_s = fmean(held_s for caller in callers for held_s in caller.holds_s)
    ideal_s = ideal_wait_s(len(callers), CONNECTIONS, HOLD_S)
    p99_s = percentile(waits_s, 99)
    return Reading(
        {
            "jain": jain(leases),
            "p50_ms": percentile(waits_s, 50) * 1000,
            "p99_ms": p99_s * 1000,
            # Where some are never served, the many short waits of the others hide it.
            "worst_p99_ms": max(percentile(c.waits_s, 99) for c in callers) * 1000,
            "max_ms": max(waits_s) * 1000,
            "of_ideal": p99_s / ideal_s,
            "of_possible": p99_s / ideal_wait_s(len(callers), CONNECTIONS, hold_s),
            "hold_ms": hold_s * 1000,
            "per_s": sum(leases) / seconds,
        },
        {
            "longest_ms": [max(caller.waits_s, default=0.0) * 1000 for caller in callers],
            "leases": [float(count) for count in leases],
        },
    )
