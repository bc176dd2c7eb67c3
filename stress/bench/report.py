"""Turn trials into medians, ratios, tables and verdicts. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from stress.bench.contenders import BASELINE
from stress.bench.trial import Trial

__all__ = ["METRICS", "Figure", "Summary", "Target", "judge", "render", "summarize"]

METRICS = (
    "processes",
    "rss_mb",
    "pss_mb",
    "anonymous_mb",
    "polling_s",
    "requests_per_s",
    "p50_ms",
    "p99_ms",
    "mean_ms",
    "refused_share",
    "busy_refused_share",
    "busy_p99_ms",
    "failed",
    "cpu_ms",
)


@dataclass(frozen=True, slots=True)
class Figure:
    """
    One figure over all rounds.

    Attributes:
        median: The figure.
        low: Its smallest value in any round.
        high: Its largest.
        ratio: Median over the rounds of this figure by the baseline's of the same round; None
            where the baseline's is zero or was not measured.
    """

    median: float
    low: float
    high: float
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """All figures of one runtime with one function and one number of slots."""

    function: str
    slots: int
    contender: str
    figures: dict[str, Figure]


def summarize(trials: Sequence[Trial]) -> list[Summary]:
    """
    Put rounds together.

    Args:
        trials: In the order they were made. The nth trial of a runtime is compared with the nth
            trial of the baseline, which was made next to it.
    """
    cases = dict.fromkeys((t.function, t.slots) for t in trials)
    summaries = []
    for function, slots in cases:
        case = [t for t in trials if (t.function, t.slots) == (function, slots)]
        baseline = [t for t in case if t.contender == BASELINE.name]
        for name in dict.fromkeys(t.contender for t in case):
            rounds = [t for t in case if t.contender == name]
            figures = {metric: _figure(metric, rounds, baseline) for metric in METRICS}
            summaries.append(Summary(function, slots, name, figures))
    return summaries


def _figure(metric: str, rounds: Sequence[Trial], baseline: Sequence[Trial]) -> Figure:
    values = [float(getattr(trial, metric)) for trial in rounds]
    against = [float(getattr(trial, metric)) for trial in baseline]
    # Not strict: a runtime may have been given fewer rounds than the baseline.
    ratios = [value / base for value, base in zip(values, against, strict=False) if base]
    ratio = statistics.median(ratios) if ratios else None
    return Figure(statistics.median(values), min(values), max(values), ratio)


# ---------------------------------------------------------------------- tables


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    metric: str
    form: Callable[[float], str]


_COLUMNS = (
    _Column("processes", "processes", "{:.0f}".format),
    _Column("RSS MB", "rss_mb", "{:.0f}".format),
    _Column("PSS MB", "pss_mb", "{:.0f}".format),
    _Column("all slots poll, s", "polling_s", "{:.2f}".format),
    _Column("requests/s", "requests_per_s", "{:.0f}".format),
    _Column("p50 ms", "p50_ms", "{:.1f}".format),
    _Column("p99 ms", "p99_ms", "{:.1f}".format),
    _Column("refused", "refused_share", "{:.2%}".format),
    _Column("refused, 50 ms", "busy_refused_share", "{:.2%}".format),
    _Column("p99, 50 ms", "busy_p99_ms", "{:.1f}".format),
    _Column("CPU ms/request", "cpu_ms", "{:.3f}".format),
)


def render(summaries: Iterable[Summary], *, spread: bool = True) -> str:
    """
    Return one Markdown table for each function and number of slots.

    Args:
        summaries: Of one run.
        spread: Also tell the lowest and the highest round.
    """
    parts = []
    for (function, slots), group in groupby(summaries, key=lambda s: (s.function, s.slots)):
        rows = [["runtime", *(column.title for column in _COLUMNS)]]
        for summary in group:
            rows.append([summary.contender, *(_cell(summary, c, spread) for c in _COLUMNS)])
            if summary.contender != BASELINE.name:
                rows.append(["", *(_ratio_cell(summary, column) for column in _COLUMNS)])
        parts.append(f"{function} function, {slots} slots, {slots} callers\n\n{_table(rows)}")
    return "\n\n".join(parts)


def _cell(summary: Summary, column: _Column, spread: bool) -> str:
    figure = summary.figures[column.metric]
    text = column.form(figure.median)
    low, high = column.form(figure.low), column.form(figure.high)
    return text if not spread or low == high else f"{text} ({low}-{high})"


def _ratio_cell(summary: Summary, column: _Column) -> str:
    ratio = summary.figures[column.metric].ratio
    if ratio is None:
        return ""
    # 1/15 says more of a saving than 0.07 does.
    return f"1/{1 / ratio:.1f}" if 0 < ratio < 0.2 else f"x {ratio:.2f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    first, *others = (_row(cells, widths) for cells in rows)
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:])]) + "|"
    return "\n".join([first, rule, *others])


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    named = cells[0].ljust(widths[0])
    numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "| " + " | ".join([named, *numbers]) + " |"


# ---------------------------------------------------------------------- verdicts


@dataclass(frozen=True, slots=True)
class Target:
    """
    A bar, and whether it was reached.

    Attributes:
        claim: What should hold.
        measured: What was measured, in the claim's terms.
        reached: Whether it holds.
    """

    claim: str
    measured: float
    reached: bool


def judge(summaries: Iterable[Summary], contender: str) -> list[Target]:
    """Hold *contender* against the bars, as far as this run has measured them."""
    targets = []
    for summary in summaries:
        if summary.contender != contender:
            continue
        where = f"{summary.function}, {summary.slots} slots"
        if summary.function == "heavy" and summary.slots == 32:
            targets += [
                _at_most(summary, "pss_mb", 1 / 12, f"{where}: PSS at most 1/12"),
                _at_most(summary, "polling_s", 1 / 10, f"{where}: all slots poll in 1/10 the time"),
                _at_most(summary, "p99_ms", 1.0, f"{where}: p99 not above"),
                _at_most(summary, "busy_p99_ms", 1.0, f"{where}: p99 of 50 ms calls not above"),
            ]
        if summary.function == "empty":
            rate = summary.figures["requests_per_s"].ratio or 0.0
            # The worst round: a single refusal is one too many.
            refused = summary.figures["refused_share"].high
            busy = summary.figures["busy_refused_share"].high
            targets += [
                _at_most(summary, "cpu_ms", 0.4, f"{where}: CPU a request at most 0.4"),
                Target(f"{where}: requests/s at least 1.3", rate, rate >= 1.3),
                Target(f"{where}: nobody refused", refused, refused == 0),
                Target(f"{where}: nobody refused when calls last 50 ms", busy, busy == 0),
            ]
    return targets


def _at_most(summary: Summary, metric: str, bar: float, claim: str) -> Target:
    ratio = summary.figures[metric].ratio
    measured = float("inf") if ratio is None else ratio
    return Target(claim, measured, measured <= bar)
