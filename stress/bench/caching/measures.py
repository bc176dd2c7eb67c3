"""The measurements by name, who takes part in each, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stress.bench.caching.hits import hits_eight_threads, hits_one_thread, hits_tasks
from stress.bench.caching.stampedes import (
    four_loops,
    leader_cancelled,
    stampede_tasks,
    stampede_threads,
)
from stress.bench.caching.task_caches import TASK_FUNCTIONS
from stress.bench.caching.thread_caches import THREAD_FUNCTIONS, THREAD_HITS
from stress.bench.contest.tables import Sheet, columns
from stress.bench.contest.tally import Row, Target, at_least, at_most
from stress.bench.contest.worker import Reading

__all__ = ["MEASURES", "OURS", "ROUNDS", "SHEETS", "contenders_of", "judge", "needs"]

OURS = "lmi_runtime"

_MODULES = {
    "aiocache": "aiocache",
    "async-lru": "async_lru",
    "cachebox": "cachebox",
    "cachetools": "cachetools",
    "diskcache": "diskcache",
}

MEASURES: Mapping[str, Callable[..., Reading]] = {
    "hits, 1 thread": hits_one_thread,
    "hits, 8 threads": hits_eight_threads,
    "hits, tasks": hits_tasks,
    "stampede, threads": stampede_threads,
    "stampede, tasks": stampede_tasks,
    "leader cancelled": leader_cancelled,
    "four loops": four_loops,
}

ROUNDS = {name: 1 for name in MEASURES if not name.startswith("hits")}
"""Measurements whose figures are counts."""

_TAKES_PART: Mapping[str, Mapping[str, object]] = {
    "hits, 1 thread": THREAD_HITS,
    "hits, 8 threads": THREAD_HITS,
    "stampede, threads": THREAD_FUNCTIONS,
}

_HITS = columns("hits/s = per_s ,.0f *", "per CPU second = per_cpu_s ,.0f *")
_ALONE = (*_HITS, *columns("fastest turn, hits/s = best_per_s ,.0f *"))
_STAMPEDE = columns(
    "loads = loads .0f",
    "served = served .0f",
    "ms = wall_ms ,.0f",
    "loads that fail = failed_loads .0f",
    "told = told .0f",
    "ms = failed_wall_ms ,.0f",
    "next call works = mended .0f",
)
_ONE_KEY = "64 callers, one missing key, a load takes 50 ms"
SHEETS = {
    "hits, 1 thread": Sheet("hits, 1,000 keys, one thread", _ALONE),
    "hits, 8 threads": Sheet("hits, 1,000 keys, eight threads", _HITS),
    "hits, tasks": Sheet("hits, 1,000 keys, one task", _ALONE),
    "stampede, threads": Sheet(f"threads: {_ONE_KEY}", _STAMPEDE),
    "stampede, tasks": Sheet(f"tasks: {_ONE_KEY}", _STAMPEDE),
    "leader cancelled": Sheet(
        "the first of 64 tasks is cancelled while it loads: the other 63",
        columns(
            "right = right .0f",
            "cancelled = cancelled .0f",
            "error = errors .0f",
            "hang = hung .0f",
            "loads = loads .0f",
        ),
    ),
    "four loops": Sheet(
        "4 loops of 16 tasks, one missing key in each of 2 rounds",
        columns("right answers = right .0f", "of = of .0f", "loads a round = loads .1f"),
    ),
}


def contenders_of(measure: str) -> list[str]:
    """Who takes part."""
    return list(_TAKES_PART.get(measure, TASK_FUNCTIONS))


def needs() -> dict[str, str]:
    """The module that each contender needs; those that need none are left out."""
    names = [name for measure in MEASURES for name in contenders_of(measure)]
    first_words = {name: name.split()[0] for name in names}
    return {name: _MODULES[word] for name, word in first_words.items() if word in _MODULES}


def judge(rows: Sequence[Row]) -> list[Target]:
    """Hold ours against the bars, as far as this run has measured them."""
    by_name = {(row.measure, row.contender): row for row in rows}
    measured = {measure for measure, _ in by_name}

    def ratio(measure: str, contender: str) -> float | None:
        row = by_name.get((measure, contender))
        figure = row.figures.get("per_s") if row else None
        return figure.ratio if figure else None

    def of(measure: str, metric: str) -> float | None:
        row = by_name.get((measure, OURS))
        figure = row.figures.get(metric) if row else None
        return figure.median if figure else None

    against = [
        at_least(f"{measure}: of {contender}", ratio(measure, contender), bar)
        for measure, contender, bar in _AGAINST
        if measure in measured
    ]
    counted = [
        bound(f"{measure}: {words}", of(measure, metric), bar)
        for measure, metric, words, bound, bar in _COUNTS
        if measure in measured
    ]
    return against + counted


_AGAINST = (
    ("hits, 1 thread", "cachetools TTLCache + Lock", 4.0),
    ("hits, 8 threads", "cachetools TTLCache + Lock", 15.0),
    ("hits, tasks", "async-lru", 1.5),
)
_COUNTS = (
    ("stampede, threads", "loads", "loads", at_most, 1),
    ("stampede, threads", "failed_loads", "loads that fail", at_most, 1),
    ("stampede, tasks", "loads", "loads", at_most, 1),
    ("stampede, tasks", "failed_loads", "loads that fail", at_most, 1),
    ("leader cancelled", "right", "others that succeed", at_least, 63),
    ("four loops", "right", "right answers", at_least, 128),
    ("four loops", "loads", "loads a round", at_most, 1),
)
