"""Pictures that look alike, and the same each time they are drawn from the same figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["GREY", "OTHERS", "OURS", "new_axes", "save"]

OURS = "#0f8b8d"
OTHERS = "#d1603d"
# Read on white and on near-black alike; the ground is transparent.
GREY = "#808890"


def new_axes(width: float, height: float) -> tuple[Any, Any]:
    """A figure of *width* by *height* inches and its axes, without a ground of their own."""
    import matplotlib as mpl

    mpl.use("svg")
    # Text stays text: smaller, and it can be searched. Without a salt, ids are random.
    mpl.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "lmi_runtime",
            "font.family": "sans-serif",
            "font.size": 10,
            "axes.edgecolor": GREY,
            "axes.labelcolor": GREY,
            "axes.titlecolor": GREY,
            "text.color": GREY,
            "xtick.color": GREY,
            "ytick.color": GREY,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.grid(visible=True, axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def save(figure: Any, path: Path) -> Path:
    """Write *figure* as SVG that does not tell when it was drawn."""
    figure.savefig(path, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    from matplotlib import pyplot as plt

    plt.close(figure)
    # matplotlib leaves blanks at the ends of lines.
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n")
    return path
