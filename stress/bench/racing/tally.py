"""From outcomes to rows, sums and tables. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stress.bench.racing.facts import Facts
from stress.bench.racing.outcome import REPLAYS, Outcome

__all__ = ["Row", "Sums", "as_expected", "compare", "render_row", "render_sums", "sum_up"]


@dataclass(frozen=True, slots=True)
class Row:
    """One contender on one program."""

    contender: str
    facts: Facts
    outcome: Outcome

    @property
    def right(self) -> bool:
        """Found where there is something, passed where there is nothing."""
        if self.facts.racy:
            return self.outcome.verdict == "found"
        return self.outcome.verdict == "pass" and bool(self.outcome.bound)

    @property
    def minimal(self) -> bool:
        """The counterexample has as few preemptions as the program says are needed."""
        outcome, facts = self.outcome, self.facts
        if outcome.verdict != "found" or outcome.preemptions is None or facts.depth is None:
            return False
        if outcome.preemptions == facts.depth:
            return True
        # What a build with the GIL can do may need more of them than what others can do.
        return outcome.gil_preemptions is not None and outcome.gil_preemptions == facts.gil_depth

    @property
    def replays(self) -> bool:
        """Every repetition failed in the same way."""
        return self.outcome.replayed == REPLAYS

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        facts = self.facts
        return {
            "contender": self.contender,
            "name": facts.name,
            "kind": facts.kind,
            "racy": facts.racy,
            "depth": facts.depth,
            "gil_depth": facts.gil_depth,
            **self.outcome.plain(),
            "minimal": self.minimal,
            "as_expected": self.right,
        }


@dataclass(frozen=True, slots=True)
class Sums:
    """
    One contender on all programs of a kind.

    Attributes:
        contender: Who.
        kind: ``thread``, ``async`` or ``all``.
        racy: Programs with a bug.
        found: Of those, found.
        missed: Names of the others.
        false_passes: Names of racy programs that were said to hold.
        fixed: Programs without a bug.
        false_alarms: Names of those that were said to fail.
        undecided: Names of programs without a bug that were neither passed nor failed.
        minimal: Found, with as few preemptions as can be.
        replayed: Found, and failed again in each of 20 repetitions.
        median_s: Of the racy programs, real seconds.
        total_s: The same, all together.
        fixed_s: Real seconds for all programs without a bug.
        to_failure: Median of the runs until the first failure.
        rate: Runs a second over the programs without a bug, where nothing is shrunk.
    """

    contender: str
    kind: str
    racy: int
    found: int
    missed: tuple[str, ...]
    false_passes: tuple[str, ...]
    fixed: int
    false_alarms: tuple[str, ...]
    undecided: tuple[str, ...]
    minimal: int
    replayed: int
    median_s: float
    total_s: float
    fixed_s: float
    to_failure: float
    rate: float

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def as_expected(rows: Iterable[Row]) -> bool:
    """Whether all were right, every find as small as can be and repeatable."""
    return all(row.right and (not row.facts.racy or (row.minimal and row.replays)) for row in rows)


def sum_up(rows: Sequence[Row]) -> list[Sums]:
    """Sum up by contender, each kind of program and all of them together."""
    sums = []
    for contender in dict.fromkeys(row.contender for row in rows):
        mine = [row for row in rows if row.contender == contender]
        kinds = sorted({row.facts.kind for row in mine}, reverse=True)
        sums += [
            _sums(contender, kind, [row for row in mine if row.facts.kind == kind])
            for kind in kinds
        ]
        if len(kinds) > 1:
            sums.append(_sums(contender, "all", mine))
    return sums


def _sums(contender: str, kind: str, rows: Sequence[Row]) -> Sums:
    racy = [row for row in rows if row.facts.racy]
    fixed = [row for row in rows if not row.facts.racy]
    found = [row for row in racy if row.outcome.verdict == "found"]
    first = [row.outcome.to_failure for row in found if row.outcome.to_failure is not None]
    seconds = [row.outcome.seconds for row in racy]
    fixed_s = sum(row.outcome.seconds for row in fixed)
    runs = sum(row.outcome.schedules for row in fixed)
    return Sums(
        contender=contender,
        kind=kind,
        racy=len(racy),
        found=len(found),
        missed=_names(row for row in racy if row.outcome.verdict != "found"),
        false_passes=_names(row for row in racy if row.outcome.verdict == "pass"),
        fixed=len(fixed),
        false_alarms=_names(row for row in fixed if row.outcome.verdict == "found"),
        undecided=_names(row for row in fixed if row.outcome.verdict != "found" and not row.right),
        minimal=sum(row.minimal for row in found),
        replayed=sum(row.replays for row in found),
        median_s=statistics.median(seconds) if seconds else 0.0,
        total_s=sum(seconds),
        fixed_s=fixed_s,
        to_failure=statistics.median(first) if first else 0.0,
        rate=runs / fixed_s if fixed_s else 0.0,
    )


def _names(rows: Iterable[Row]) -> tuple[str, ...]:
    return tuple(row.facts.name for row in rows)


def compare(sums: Sequence[Sums], ours: str) -> dict[str, float]:
    """How many times more runs a second *ours* makes, by ``contender kind``."""
    rates = {each.kind: each.rate for each in sums if each.contender == ours}
    return {
        f"{each.contender} {each.kind}": rates[each.kind] / each.rate
        for each in sums
        if each.contender != ours and each.rate and rates.get(each.kind)
    }


# ---------------------------------------------------------------------- words


def render_row(row: Row) -> str:
    """One line."""
    outcome, facts = row.outcome, row.facts
    parts = [
        "  " if row.right else "! ",
        f"{row.contender:<9}{facts.name:<38}{outcome.verdict:<13}",
        f"{outcome.schedules:>6} runs {outcome.seconds:>7.2f} s",
    ]
    if outcome.verdict == "found":
        parts.append(f"  {_depth(row)}")
        if outcome.builds:
            parts.append(f", {'+'.join(outcome.builds)}")
        if outcome.replayed is not None:
            parts.append(f", replays {outcome.replayed}/{REPLAYS}")
    elif outcome.bound:
        parts.append(f"  {outcome.bound}")
    if outcome.detail and not row.right:
        parts.append(f"  {outcome.detail}")
    return "".join(parts)


def _depth(row: Row) -> str:
    if row.outcome.preemptions is None:
        return "preemptions unknown"
    smallest = "" if row.facts.depth is None else f" of {row.facts.depth}"
    mark = " minimal" if row.minimal else ""
    return f"preemptions {row.outcome.preemptions}{smallest}{mark}"


_HEADINGS = (
    "contender",
    "programs",
    "found",
    "said to hold",
    "false alarms",
    "undecided twins",
    "minimal",
    "replayed",
    "median s",
    "total s",
    "twins s",
    "runs to failure",
    "runs/s",
)


def render_sums(sums: Sequence[Sums], ours: str) -> str:
    """Return a Markdown table, and the ratios below it."""
    table = [list(_HEADINGS)]
    table += [
        [
            each.contender,
            each.kind,
            f"{each.found}/{each.racy}",
            str(len(each.false_passes)),
            f"{len(each.false_alarms)}/{each.fixed}",
            str(len(each.undecided)),
            f"{each.minimal}/{each.found}",
            f"{each.replayed}/{each.found}",
            f"{each.median_s:.3f}",
            f"{each.total_s:.1f}",
            f"{each.fixed_s:.1f}",
            f"{each.to_failure:g}",
            f"{each.rate:.0f}",
        ]
        for each in sums
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in table
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    ratios = compare(sums, ours)
    lines += [f"runs a second, {ours} over {name}: x {ratio:.1f}" for name, ratio in ratios.items()]
    return "\n".join(lines)
