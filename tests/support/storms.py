"""Storms of cancellations over a pool, in which no connection may get lost and no reply astray."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import anyio

from tests.support.patience import PATIENCE_S

__all__ = ["Ask", "Borrow", "StormCounts", "StormKind", "storm", "wait_served"]

C = TypeVar("C")
Borrow = Callable[[], AbstractAsyncContextManager[C]]
"""Such as ``pool.lease`` or ``engine.connect``."""
Ask = Callable[[C, int], Awaitable[int]]
"""Sends a number over a connection, and returns the number that comes back."""
StormKind = Literal["single", "double", "scopes"]


@dataclass(frozen=True, slots=True)
class StormCounts:
    """
    What became of the requests of one storm.

    Attributes:
        served: They got their own number back.
        cancelled: They were cancelled before that.
        wrong: They got another request's number.
        errors: They ended with anything else; by the name of the error.
        lost: Connections that cannot be borrowed any more, now that all is quiet.
    """

    served: int
    cancelled: int
    wrong: int
    errors: dict[str, int]
    lost: int

    @property
    def harmless(self) -> bool:
        """Nothing was lost, and nobody saw what was not for them."""
        return not (self.wrong or self.errors or self.lost)


async def storm(
    borrow: Borrow[C],
    ask: Ask[C],
    *,
    size: int,
    kind: StormKind,
    seed: int,
    tasks: int = 16,
    rounds: int = 10,
    longest_s: float = 0.03,
) -> StormCounts:
    """
    Have `tasks` tasks borrow and ask `rounds` times each, and cancel each time at random.

    Args:
        borrow: Makes a lease.
        ask: What is asked while it is held.
        size: Connections that the pool lends.
        kind: Cancel each request once; twice in quick succession, so that the second hits
            what the first set off; or with scopes of anyio, which go on cancelling. Without
            asyncio, only scopes.
        seed: Of the moments at which requests are cancelled.
        tasks: Requests at a time.
        rounds: Requests one after the other.
        longest_s: No request is cancelled later than that after it began.
    """
    chance = random.Random(seed)
    numbers = itertools.count(1)
    counts: Counter[str] = Counter()
    errors: Counter[str] = Counter()

    async def request() -> None:
        number = next(numbers)
        try:
            async with borrow() as connection:
                reply = await ask(connection, number)
                counts["served" if reply == number else "wrong"] += 1
        except Exception as error:
            errors[type(error).__name__] += 1

    async def weather() -> None:
        for _ in range(rounds):
            await _cancelled(request, kind, chance, longest_s)

    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(weather)
    asked = tasks * rounds
    answered = counts["served"] + counts["wrong"] + errors.total()
    lost = size - await wait_served(borrow, ask, size)
    return StormCounts(counts["served"], asked - answered, counts["wrong"], dict(errors), lost)


async def wait_served(
    borrow: Borrow[C], ask: Ask[C], size: int, timeout_s: float = PATIENCE_S
) -> int:
    """Borrow `size` connections at once, and count those that come and answer rightly."""
    served = 0
    async with AsyncExitStack() as stack:
        with anyio.move_on_after(timeout_s):
            for number in range(size):
                connection = await stack.enter_async_context(borrow())
                served += await ask(connection, -number) == -number
    return served


async def _cancelled(
    request: Callable[[], Awaitable[None]], kind: StormKind, chance: random.Random, longest_s: float
) -> None:
    pause_s = chance.random() * longest_s
    if kind == "scopes":
        with anyio.move_on_after(pause_s):
            await request()
        return
    task: asyncio.Task[Any] = asyncio.ensure_future(request())  # type: ignore[arg-type]
    await asyncio.wait((task,), timeout=pause_s)
    task.cancel()
    if kind == "double":
        for _ in range(chance.randrange(1, 4)):
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait((task,))
