"""frontrun: dynamic partial order reduction, with the options it has by default."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from stress.bench.racing.outcome import REPLAYS, Budget, Outcome, Subject

__all__ = ["check", "count_switches"]

_World = tuple[Any, Sequence[Callable[[], Any]], list[BaseException]]
"""State, workers, and what workers have raised."""


def check(subject: Subject, budget: Budget) -> Outcome:
    """
    Explore *subject*; the counterexample is replayed outside the time that counts.

    An exception is made a matter of the invariant: left alone, some end its search without a
    verdict.
    """
    started = time.monotonic()
    result = _explore(subject, budget, replays=0)
    seconds = time.monotonic() - started
    tried = result.num_explored
    if result.property_holds is None:
        return Outcome("inconclusive", tried, None, seconds, detail=str(result.inconclusive_reason))
    if result.property_holds:
        bound = "what its default preemption bound of 2 reaches"
        return Outcome("pass", tried, None, seconds, bound=bound)
    again = _explore(subject, budget, replays=REPLAYS)
    # For tasks a schedule of its own is no departure from first in, first out.
    schedule = result.counterexample if subject.kind == "thread" else None
    return Outcome(
        "found",
        tried,
        tried,
        seconds,
        preemptions=count_switches(schedule) if isinstance(schedule, list) else None,
        replayed=again.reproduction_successes,
        detail=(result.explanation or "").strip().split("\n")[0][:200],
    )


def count_switches(schedule: Sequence[int]) -> int:
    """
    Count the switches away from somebody who goes on later.

    More than the preemptions where somebody was left because it had to wait: a schedule of
    frontrun's does not tell the two apart.
    """
    last = {number: index for index, number in enumerate(schedule)}
    pairs = itertools.pairwise(schedule)
    return sum(
        before != after and last[before] > index for index, (before, after) in enumerate(pairs)
    )


def _explore(subject: Subject, budget: Budget, *, replays: int) -> Any:
    import frontrun
    from frontrun import _cooperative

    # As its pytest plugin does: locks made at import are under control.
    _cooperative.patch_locks()
    try:
        module = subject.module
    finally:
        _cooperative.unpatch_locks()
    count = len(module.threads(module.make_state()))
    make = _task if subject.kind == "async" else _thread

    # A tuple: the search is ten times slower when this is an object that refers to the module.
    def setup() -> _World:
        state = module.make_state()
        return state, module.threads(state), []

    def invariant(world: _World) -> bool:
        state, _, errors = world
        return not errors and bool(module.invariant(state))

    result = frontrun.explore(
        setup=setup,
        workers=[make(number) for number in range(count)],
        invariant=invariant,
        max_executions=budget.schedules,
        total_timeout=budget.seconds,
        reproduce_on_failure=replays,
    )
    return asyncio.run(_finished(result)) if inspect.isawaitable(result) else result


async def _finished(result: Any) -> Any:
    return await result


def _thread(number: int) -> Callable[[_World], None]:
    def worker(world: _World) -> None:
        try:
            world[1][number]()
        except Exception as error:
            _keep(error, world)

    return worker


def _task(number: int) -> Callable[[_World], Any]:
    async def worker(world: _World) -> None:
        try:
            await world[1][number]()
        except Exception as error:
            _keep(error, world)

    return worker


def _keep(error: Exception, world: _World) -> None:
    if type(error).__module__.startswith("frontrun"):
        raise error  # its way to end a worker
    world[2].append(error)
