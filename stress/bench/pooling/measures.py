"""The measurements by name, who takes part in each, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stress.bench.contest.tables import Sheet, columns
from stress.bench.contest.tally import Row, Target, at_least, at_most
from stress.bench.contest.worker import Reading
from stress.bench.pooling.bursts import burst_tasks, burst_threads
from stress.bench.pooling.fairness import fair_mixed, fair_tasks, fair_threads
from stress.bench.pooling.forks import forks
from stress.bench.pooling.rates import (
    contended_tasks,
    contended_threads,
    uncontended_tasks,
    uncontended_threads,
)
from stress.bench.pooling.storms import storm_double, storm_scopes, storm_single
from stress.bench.pooling.task_pools import TASK_POOLS
from stress.bench.pooling.thread_pools import THREAD_POOLS

__all__ = ["MEASURES", "NEEDS", "OURS", "ROUNDS", "SHEETS", "contenders_of", "judge"]

OURS = "lmi_runtime"

NEEDS = {
    "psycopg_pool": "psycopg_pool",
    "sqlalchemy": "sqlalchemy",
    "redis": "redis",
    "connpool": "connpool",
}
"""The module that a contender needs; others need none."""

MEASURES: Mapping[str, Callable[..., Reading]] = {
    "uncontended threads": uncontended_threads,
    "uncontended tasks": uncontended_tasks,
    "contended threads": contended_threads,
    "contended tasks": contended_tasks,
    "fair threads": fair_threads,
    "fair tasks": fair_tasks,
    "fair mixed": fair_mixed,
    "burst threads": burst_threads,
    "burst tasks": burst_tasks,
    "storm single": storm_single,
    "storm double": storm_double,
    "storm scopes": storm_scopes,
    "forks": forks,
}

ROUNDS = {"storm single": 1, "storm double": 1, "storm scopes": 1, "forks": 1}
"""Measurements that repeat themselves often enough."""

_RATES = columns("leases/s = per_s ,.0f *", "per CPU second = per_cpu_s ,.0f *")
_STEADY = (*_RATES, *columns("fastest batch /s = best_per_s ,.0f *"))
_FAIR = columns(
    "Jain = jain .3f",
    "p50 ms = p50_ms .1f",
    "p99 ms = p99_ms .1f",
    "unluckiest caller's p99 ms = worst_p99_ms .1f",
    "max ms = max_ms .1f",
    "real hold ms = hold_ms .2f",
    "leases/s = per_s ,.0f",
)
_BURST = columns("wall ms = wall_ms .0f *", "opened = opened .0f")
_STORM = columns(
    "storms = storms .0f",
    "with a loss = struck .0f",
    "connections lost = lost .0f",
    "cancellations = cancels ,.0f",
    "tasks that never end = stuck .0f",
)
_FORKS = columns(
    "forks = forks .0f",
    "own connection = own .0f",
    "the parent's = parents .0f",
    "error = errors .0f",
    "hang = hung .0f",
    "goodbyes on the parent's = goodbyes .0f",
    "parent's threads stuck = stuck .0f",
)
_ON_TWO = "16 callers, 2 connections, 1 ms hold, ideal wait 7 ms"
_COLD = "64 callers at once, pool of 16, opening takes 50 ms, 1 ms hold"
_STORMY = "64 tasks, 4 connections"
SHEETS = {
    "uncontended threads": Sheet("one thread, pool of 8", _STEADY),
    "uncontended tasks": Sheet("one task, pool of 8", _STEADY),
    "contended threads": Sheet("16 threads, pool of 8, each gives way once", _RATES),
    "contended tasks": Sheet("64 tasks, pool of 8, each gives way once", _RATES),
    "fair threads": Sheet(f"threads: {_ON_TWO}", _FAIR),
    "fair tasks": Sheet(f"tasks: {_ON_TWO}", _FAIR),
    "fair mixed": Sheet(f"6 threads and 2 loops of 5 tasks on one pool: {_ON_TWO}", _FAIR),
    "burst threads": Sheet(f"threads: {_COLD}", _BURST),
    "burst tasks": Sheet(f"tasks: {_COLD}", _BURST),
    "storm single": Sheet(f"cancelled once: {_STORMY}", _STORM),
    "storm double": Sheet(f"cancelled twice: {_STORMY}", _STORM),
    "storm scopes": Sheet(f"cancelled by anyio scopes: {_STORMY}", _STORM),
    "forks": Sheet("forks while 8 threads of the parent use 4 connections", _FORKS),
}


_AT_MOST = (
    ("burst threads", "wall_ms", "ms", 95),
    ("burst tasks", "wall_ms", "ms", 95),
    ("storm single", "lost", "connections lost", 0),
    ("storm double", "lost", "connections lost", 0),
    ("storm scopes", "lost", "connections lost", 0),
)


def contenders_of(measure: str) -> list[str]:
    """Who takes part."""
    if measure == "fair mixed":
        return [OURS]
    tasks = measure.endswith("tasks") or measure.startswith("storm")
    return list(TASK_POOLS if tasks else THREAD_POOLS)


def judge(rows: Sequence[Row]) -> list[Target]:
    """Hold ours against the bars, as far as this run has measured them."""
    by_name = {(row.measure, row.contender): row for row in rows}
    measured = {measure for measure, _ in by_name}

    def of(measure: str, metric: str) -> float | None:
        figure = by_name[measure, OURS].figures.get(metric)
        return figure.median if figure else None

    def against(measure: str, contender: str) -> float | None:
        row = by_name.get((measure, contender))
        figure = row.figures.get("per_s") if row else None
        return figure.ratio if figure else None

    targets = []
    for kind, bar in (("threads", 250_000), ("tasks", 300_000)):
        if (measure := f"uncontended {kind}") in measured:
            targets.append(at_least(f"{measure}: leases/s", of(measure, "per_s"), bar))
            ratio = against(measure, "psycopg_pool")
            targets.append(at_least(f"{measure}: of psycopg_pool's leases/s", ratio, 1.5))
    for measure in ("fair threads", "fair tasks", "fair mixed"):
        if measure in measured:
            targets.append(at_least(f"{measure}: Jain", of(measure, "jain"), 0.99))
            targets.append(at_most(f"{measure}: p99 of ideal", of(measure, "of_ideal"), 1.5))
    targets += [
        at_most(f"{measure}: {words}", of(measure, metric), bar)
        for measure, metric, words, bar in _AT_MOST
        if measure in measured
    ]
    if "forks" in measured:
        count = of("forks", "forks")
        targets.append(at_least("forks: own connection", of("forks", "own"), count or 40))
    return targets
