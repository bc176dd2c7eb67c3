"""Tables of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from stress.bench.contest.tally import Row, Target

__all__ = ["Column", "Sheet", "columns", "render", "render_targets"]

_WIDTH = 150


@dataclass(frozen=True, slots=True)
class Column:
    """
    One metric in a table.

    Attributes:
        title: With its unit.
        metric: Its name among the figures.
        form: Writes a value.
        compared: Whether ours divided by theirs is written beside it.
    """

    title: str
    metric: str
    form: Callable[[float], str]
    compared: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """How the rows of one measurement are shown."""

    title: str
    columns: Sequence[Column]


def columns(*specs: str) -> tuple[Column, ...]:
    """
    Columns from texts like ``"leases/s = wall ,.0f *"``: title, metric, format, compared or not.
    """
    made = []
    for spec in specs:
        title, _, rest = spec.partition(" = ")
        metric, form, *star = rest.split()
        made.append(Column(title, metric, f"{{:{form}}}".format, bool(star)))
    return tuple(made)


def render(sheet: Sheet, rows: Iterable[Row], *, spread: bool = False) -> str:
    """
    Return a table.

    Args:
        sheet: What it shows.
        rows: One a contender.
        spread: Whether figures carry their lowest and highest round.
    """
    table = Table(title=sheet.title, title_justify="left")
    table.add_column("")
    for column in sheet.columns:
        table.add_column(column.title, justify="right")
        if column.compared:
            table.add_column("ours/it", justify="right")
    for row in rows:
        cells = [cell for column in sheet.columns for cell in _cells(row, column, spread)]
        table.add_row(row.contender, *cells)
        if row.trouble:
            table.add_row(f"  {row.trouble}")
    return _text(table)


def render_targets(targets: Iterable[Target]) -> str:
    """Return the bars and whether each was reached."""
    table = Table(title="targets", title_justify="left")
    table.add_column("")
    table.add_column("claim")
    table.add_column("measured", justify="right")
    for target in targets:
        said = "not measured" if target.measured is None else f"{target.measured:,.4g}"
        table.add_row("reached" if target.reached else "MISSED", target.claim, said)
    return _text(table)


def _cells(row: Row, column: Column, spread: bool) -> list[str]:
    figure = row.figures.get(column.metric)
    if figure is None:
        return ["-", ""] if column.compared else ["-"]
    text = column.form(figure.median)
    if spread and figure.low != figure.high:
        text += f" ({column.form(figure.low)}-{column.form(figure.high)})"
    if not column.compared:
        return [text]
    return [text, "" if figure.ratio is None else f"x {figure.ratio:.2f}"]


def _text(table: Table) -> str:
    console = Console(width=_WIDTH, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
