"""Waits of sixteen callers on two connections, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stress.bench.contest.drawing import GREY, OTHERS, OURS, new_axes, save
from stress.bench.contest.jobs import Outcome
from stress.bench.contest.tally import Row
from stress.bench.pooling.arithmetic import ideal_wait_s
from stress.bench.pooling.fairness import CALLERS, CONNECTIONS, HOLD_S

__all__ = ["Fate", "draw", "fates_of"]

Fate = tuple[float, float]
"""The longest wait of a caller, in milliseconds, and how many leases it got."""

_OURS = "lmi_runtime"
_TICKS = ((0.1, "0.1 ms"), (1, "1 ms"), (10, "10 ms"), (100, "100 ms"), (1000, "1 s"))


def draw(rows: Sequence[Row], outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    """Draw what was measured; the paths that were written."""
    drawn = []
    for kind in ("threads", "tasks"):
        fates = fates_of(outcomes, f"fair {kind}")
        mixed = fates_of(outcomes, "fair mixed").get(_OURS)
        if kind == "threads" and mixed:
            fates["lmi_runtime, threads and 2 loops"] = mixed
        if fates:
            drawn.append(_draw_waits(fates, kind, folder / f"pool-waits-{kind}.svg"))
    return drawn


def fates_of(outcomes: Sequence[Outcome], measure: str) -> dict[str, list[Fate]]:
    """
    Of the first round of each contender: how long each caller waited at most, in milliseconds,
    and how many leases it got; sorted.
    """
    fates: dict[str, list[Fate]] = {}
    for outcome in outcomes:
        if outcome.measure == measure and "longest_ms" in outcome.series:
            pairs = zip(outcome.series["longest_ms"], outcome.series["leases"], strict=True)
            fates.setdefault(outcome.contender, sorted(pairs))
    return fates


def _draw_waits(fates: Mapping[str, Sequence[Fate]], kind: str, path: Path) -> Path:
    figure, axes = new_axes(7.2, 0.42 * len(fates) + 1.3)
    # Ours first, then by how badly the unluckiest caller fared; the topmost is drawn last.
    ordered = sorted(fates, key=lambda name: (name.startswith(_OURS), -fates[name][-1][0], name))
    for height, name in enumerate(ordered):
        _draw_row(axes, fates[name], height, OURS if name.startswith(_OURS) else OTHERS)
    axes.set_yticks(range(len(ordered)), ordered)
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.set_xscale("log")
    axes.set_xticks(*zip(*_TICKS, strict=True))
    axes.minorticks_off()
    ideal_ms = ideal_wait_s(CALLERS, CONNECTIONS, HOLD_S) * 1000
    axes.axvline(ideal_ms, color=GREY, linestyle="--", linewidth=1)
    axes.annotate(
        f"served in order: {ideal_ms:.0f} ms",
        (ideal_ms, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        fontsize=8,
    )
    axes.set_xlabel("longest wait for a connection, one dot a caller (log scale)")
    title = f"{CALLERS} {kind} share {CONNECTIONS} connections, each held {HOLD_S * 1000:.0f} ms"
    axes.set_title(title, loc="left", fontsize=11, pad=16)
    return save(figure, path)


def _draw_row(axes: Any, fates: Sequence[Fate], height: float, color: str) -> None:
    # Callers that fared alike would hide each other on one line.
    step = 0.6 / max(len(fates) - 1, 1)
    heights = [height - 0.3 + step * index for index in range(len(fates))]
    waits_ms = [wait_ms for wait_ms, _ in fates]
    axes.plot(waits_ms, heights, "o", color=color, markersize=3.2, alpha=0.8, markeredgewidth=0)
    if never := sum(not leases for _, leases in fates):
        axes.annotate(
            f"{never} never served",
            (waits_ms[-1], height),
            xytext=(-8, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8,
        )
