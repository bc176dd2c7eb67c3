"""How often 64 callers have one missing key loaded, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stress.bench.contest.drawing import OTHERS, OURS, new_axes, save
from stress.bench.contest.jobs import Outcome
from stress.bench.contest.tally import Row

__all__ = ["draw"]

_OURS = "lmi_runtime"
_ALL = 64


def draw(rows: Sequence[Row], outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    """Draw what was measured; the paths that were written."""
    drawn = []
    for kind in ("threads", "tasks"):
        group = [row for row in rows if row.measure == f"stampede, {kind}" and row.figures]
        if group:
            drawn.append(_draw(group, kind, folder / f"cache-stampede-{kind}.svg"))
    return drawn


def _draw(rows: Sequence[Row], kind: str, path: Path) -> Path:
    figure, axes = new_axes(7.2, 0.34 * len(rows) + 1.5)
    # Ours first, then the fewest loads; the topmost is drawn last.
    ordered = sorted(rows, key=lambda r: (r.contender.startswith(_OURS), -_most(r)))
    for height, row in enumerate(ordered):
        color = OURS if row.contender.startswith(_OURS) else OTHERS
        good, bad = row.figures["loads"].median, row.figures["failed_loads"].median
        axes.plot([good, bad], [height, height], "-", color=color, linewidth=1, alpha=0.5)
        axes.plot([good], [height], "o", color=color, markersize=7, label=None)
        axes.plot([bad], [height], "o", color=color, markersize=11, fillstyle="none")
    axes.set_yticks(range(len(ordered)), [row.contender for row in ordered])
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, 2, 4, 8, 16, 32, 64], ["1", "2", "4", "8", "16", "32", "64"])
    axes.minorticks_off()
    axes.set_xlim(0.85, 76)
    axes.set_xlabel("loads (log scale): dot, when it succeeds; ring, when it fails")
    title = f"{_ALL} {kind} ask for one missing key; loading it takes 50 ms"
    axes.set_title(title, loc="left", fontsize=11)
    return save(figure, path)


def _most(row: Row) -> float:
    return row.figures["loads"].median + row.figures["failed_loads"].median
