"""Cancellations at any moment, and what is left of the pool afterwards."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import anyio

from stress.bench.contest.worker import Reading
from stress.bench.pooling.task_pools import TaskPool, task_pool
from stress.bench.pooling.wire import Wire

__all__ = ["storm_double", "storm_scopes", "storm_single"]

_CONNECTIONS = 4
_TASKS = 64
_HOLD_S = 0.001
_VICTIMS = 8
_END_S = 5.0
_COUNT_S = 0.5

_Aim = Callable[["_Storm", int], Awaitable[None]]


class _Storm:
    """
    Tasks that lease, and somebody who cancels them. Loop thread only.

    Args:
        pool: Where they lease.
        dice: How long they hold, and who is hit.
    """

    def __init__(self, pool: TaskPool, dice: random.Random) -> None:
        self.pool = pool
        self.dice = dice
        self.over = False
        self.cancels = 0
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.scopes: dict[int, anyio.CancelScope] = {}

    async def lease(self) -> None:
        """Hold a connection for up to a millisecond."""

        async def action(connection: object) -> None:
            await asyncio.sleep(self.dice.random() * _HOLD_S)

        await self.pool.hold(action)

    async def keep_leasing(self, number: int) -> None:
        """Each lease in a task of its own, which may be cancelled."""
        while not self.over:
            task = self.tasks[number] = asyncio.create_task(self.lease())
            await asyncio.wait([task])

    async def keep_leasing_in_scopes(self, number: int) -> None:
        """Each lease in a scope of its own, which cancels again until it is left."""
        while not self.over:
            with anyio.CancelScope() as scope:
                self.scopes[number] = scope
                await self.lease()

    async def rage(self, aim: _Aim, seconds: float) -> None:
        """Hit some of the tasks again and again."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + seconds
        while loop.time() < until_s:
            for victim in self.dice.sample(range(_TASKS), _VICTIMS):
                await aim(self, victim)
                self.cancels += 1
            await asyncio.sleep(self.dice.random() * _HOLD_S)


async def _cancel(storm: _Storm, victim: int) -> None:
    storm.tasks[victim].cancel()


async def _cancel_twice(storm: _Storm, victim: int) -> None:
    task = storm.tasks[victim]
    task.cancel()
    # The first one is being dealt with when the second arrives.
    for _ in range(storm.dice.randint(1, 3)):
        await asyncio.sleep(0)
    task.cancel()


async def _cancel_scope(storm: _Storm, victim: int) -> None:
    storm.scopes[victim].cancel()


def storm_single(contender: str, seconds: float, storms: int) -> Reading:
    """A task is cancelled once."""
    return asyncio.run(_storms(contender, seconds, storms, _cancel, scopes=False))


def storm_double(contender: str, seconds: float, storms: int) -> Reading:
    """A task is cancelled, and again while it cleans up."""
    return asyncio.run(_storms(contender, seconds, storms, _cancel_twice, scopes=False))


def storm_scopes(contender: str, seconds: float, storms: int) -> Reading:
    """A task is in an anyio scope, which cancels on every turn of the loop."""
    return asyncio.run(_storms(contender, seconds, storms, _cancel_scope, scopes=True))


async def _storms(
    contender: str, seconds: float, storms: int, aim: _Aim, *, scopes: bool
) -> Reading:
    lost = struck = cancels = stuck = 0
    for number in range(storms):
        async with task_pool(contender, _CONNECTIONS, Wire()) as pool:
            storm = _Storm(pool, random.Random(number))
            stuck += await _one(storm, seconds, aim, scopes=scopes)
            missing = _CONNECTIONS - await count_leasable(pool, _CONNECTIONS)
        lost += missing
        struck += missing > 0
        cancels += storm.cancels
    figures = {"storms": storms, "struck": struck, "lost": lost, "cancels": cancels}
    return Reading({**figures, "stuck": stuck})


async def _one(storm: _Storm, seconds: float, aim: _Aim, *, scopes: bool) -> int:
    body = storm.keep_leasing_in_scopes if scopes else storm.keep_leasing
    keepers = [asyncio.create_task(body(number)) for number in range(_TASKS)]
    await asyncio.sleep(0)
    await storm.rage(aim, seconds)
    storm.over = True
    # Whoever still waits is waiting for a connection that is lost.
    _, waiting = await asyncio.wait(keepers, timeout=_COUNT_S)
    for task in [*storm.tasks.values(), *waiting]:
        task.cancel()
    if not waiting:
        return 0
    _, stuck = await asyncio.wait(waiting, timeout=_END_S)
    return len(stuck)


async def count_leasable(pool: TaskPool, most: int) -> int:
    """How many connections *pool* lends at the same time."""
    enough = asyncio.Event()
    held = 0

    async def action(connection: object) -> None:
        nonlocal held
        held += 1
        if held == most:
            enough.set()
        await enough.wait()

    tasks = [asyncio.create_task(pool.hold(action)) for _ in range(most)]
    await asyncio.wait(tasks, timeout=_COUNT_S)
    enough.set()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=_COUNT_S)
    return held
