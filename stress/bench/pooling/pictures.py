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

__all__ = ["draw", "longest_waits"]

_OURS = "lmi_runtime"


def draw(rows: Sequence[Row], outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    """Draw what was measured; the paths that were written."""
    drawn = []
    for kind in ("threads", "tasks"):
        waits = longest_waits(outcomes, f"fair {kind}")
        if kind == "threads":
            mixed = longest_waits(outcomes, "fair mixed").get(_OURS)
            waits = {**waits, **({"lmi_runtime, threads and 2 loops": mixed} if mixed else {})}
        if waits:
            drawn.append(_draw_waits(waits, kind, folder / f"pool-waits-{kind}.svg"))
    return drawn


def longest_waits(outcomes: Sequence[Outcome], measure: str) -> dict[str, Sequence[float]]:
    """Of the first round of each contender: the longest wait of each caller, in milliseconds."""
    waits: dict[str, Sequence[float]] = {}
    for outcome in outcomes:
        if outcome.measure == measure and "longest_ms" in outcome.series:
            waits.setdefault(outcome.contender, outcome.series["longest_ms"])
    return waits


def _draw_waits(waits: Mapping[str, Sequence[float]], kind: str, path: Path) -> Path:
    figure, axes = new_axes(7.2, 0.34 * len(waits) + 1.5)
    # Ours first, then by how badly the unluckiest caller fared; the topmost is drawn last.
    ordered = sorted(waits, key=lambda name: (not name.startswith(_OURS), max(waits[name])))
    for height, name in enumerate(reversed(ordered)):
        _draw_row(axes, waits[name], height, OURS if name.startswith(_OURS) else OTHERS)
    axes.set_yticks(range(len(ordered)), list(reversed(ordered)))
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.set_xscale("log")
    axes.set_xticks([1, 10, 100, 1000], ["1 ms", "10 ms", "100 ms", "1 s"])
    axes.minorticks_off()
    ideal_ms = ideal_wait_s(CALLERS, CONNECTIONS, HOLD_S) * 1000
    axes.axvline(ideal_ms, color=GREY, linestyle="--", linewidth=1)
    axes.annotate(
        f"served in order: {ideal_ms:.0f} ms",
        (ideal_ms, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(4, 2),
        textcoords="offset points",
        fontsize=8,
    )
    axes.set_xlabel("longest wait for a connection, one dot a caller (log scale)")
    title = f"{CALLERS} {kind} share {CONNECTIONS} connections, each held {HOLD_S * 1000:.0f} ms"
    axes.set_title(title, loc="left", fontsize=11, pad=16)
    return save(figure, path)


def _draw_row(axes: Any, waits_ms: Sequence[float], height: float, color: str) -> None:
    # Callers that fared alike would hide each other on one line.
    offsets = [
        height + 0.3 * (index / max(len(waits_ms) - 1, 1) - 0.5) for index in range(len(waits_ms))
    ]
    axes.plot(
        [max(ms, 0.5) for ms in waits_ms], offsets, "o", color=color, markersize=4, alpha=0.75
    )
