"""Turn outcomes into medians and ratios. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stress.bench.contest.jobs import Outcome

__all__ = ["Figure", "Row", "Target", "at_least", "at_most", "plain", "sum_up"]


@dataclass(frozen=True, slots=True)
class Figure:
    """
    One metric over all rounds.

    Attributes:
        median: The figure.
        low: Its smallest value in any round.
        high: Its largest.
        ratio: Median over the rounds of ours divided by theirs, of the same round; None where
            theirs is zero, ours was not measured, or this is ours.
    """

    median: float
    low: float
    high: float
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One contender in one measurement; no figures, but what went wrong, when it has failed."""

    measure: str
    contender: str
    figures: Mapping[str, Figure]
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """
    A bar, and whether it was reached.

    Attributes:
        claim: What should hold.
        measured: What was measured, in the claim's terms; None when it was not.
        reached: Whether it holds.
    """

    claim: str
    measured: float | None
    reached: bool


def sum_up(outcomes: Sequence[Outcome], ours: str) -> list[Row]:
    """
    Put rounds together, in the order in which measurements and contenders first appear.

    Args:
        outcomes: In the order they were made: the nth of a contender is compared with the nth of
            ours, which was made next to it.
        ours: Name of the contender that ratios are of.
    """
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.measure, outcome.contender), []).append(outcome)
    return [
        _row(group, groups.get((measure, ours), []) if contender != ours else [])
        for (measure, contender), group in groups.items()
    ]


def _row(group: Sequence[Outcome], ours: Sequence[Outcome]) -> Row:
    good = [outcome for outcome in group if not outcome.trouble]
    trouble = next((outcome.trouble for outcome in group if outcome.trouble), "")
    metrics = good[0].figures if good else ()
    figures = {metric: _figure(metric, good, ours) for metric in metrics}
    return Row(group[0].measure, group[0].contender, figures, trouble)


def _figure(metric: str, theirs: Sequence[Outcome], ours: Sequence[Outcome]) -> Figure:
    values = [outcome.figures[metric] for outcome in theirs]
    against = [outcome.figures.get(metric) for outcome in ours]
    # Not strict: who hangs is not asked again.
    pairs = zip(against, values, strict=False)
    ratios = [our / value for our, value in pairs if value and our is not None]
    ratio = statistics.median(ratios) if ratios else None
    return Figure(statistics.median(values), min(values), max(values), ratio)


def at_least(claim: str, measured: float | None, bar: float) -> Target:
    """Judge what should not be below *bar*; what was not measured has not reached it."""
    return Target(claim, measured, measured is not None and measured >= bar)


def at_most(claim: str, measured: float | None, bar: float) -> Target:
    """Judge what should not be above *bar*; what was not measured has not reached it."""
    return Target(claim, measured, measured is not None and measured <= bar)


def plain(rows: Iterable[Row]) -> list[dict[str, object]]:
    """As JSON has it."""
    return [
        {
            "measure": row.measure,
            "contender": row.contender,
            "trouble": row.trouble,
            "figures": {
                metric: {"median": f.median, "low": f.low, "high": f.high, "ratio": f.ratio}
                for metric, f in row.figures.items()
            },
        }
        for row in rows
    ]
