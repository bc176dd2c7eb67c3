"""What `lmi stress` shows while it searches and afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lmi_runtime.cli.errors import CliError

if TYPE_CHECKING:
    from lmi_runtime.stress.model import Report
    from lmi_runtime.stress.search.facts import Progress

__all__ = ["FORMS", "note", "progress_line", "show", "write"]

FORMS = ("html", "json", "sarif")
"""What a report can be written as."""

_WIDEST = 160
_REDRAW_S = 0.1


@contextlib.contextmanager
def progress_line() -> Iterator[Callable[[Progress], None]]:
    """
    Show on standard error, if that is a terminal, how far the search has come.

    Raises:
        KeyboardInterrupt: As it came, after saying how far it had come.
    """
    last: Progress | None = None
    drawn_s = float("-inf")
    with _bar() as draw:

        def advance(progress: Progress) -> None:
            nonlocal last, drawn_s
            last = progress
            if progress.seconds - drawn_s >= _REDRAW_S:
                drawn_s = progress.seconds
                draw(progress)

        try:
            yield advance
        except KeyboardInterrupt:
            done = (
                f"{last.schedules:,} schedules in {last.seconds:.1f} s" if last else "no schedule"
            )
            note(f"interrupted after {done}; a search that was cut proves nothing")
            raise


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda _progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    # Redrawn by the search and not by a thread of rich's: that would be a stranger to runs.
    bar = RichProgress(
        TextColumn("[bold]stress[/] {task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} schedules"),
        TextColumn("{task.fields[seconds]:.0f} s"),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task("starts", total=1, seconds=0.0)

        def draw(progress: Progress) -> None:
            bar.update(
                task,
                description=progress.search,
                completed=progress.schedules,
                total=progress.limit,
                seconds=progress.seconds,
                refresh=True,
            )

        yield draw


def show(report: Report) -> None:
    """Print the report, as wide and as colourful as the terminal allows."""
    from lmi_runtime.stress.report import text

    width = min(shutil.get_terminal_size((100, 24)).columns, _WIDEST)
    said = text(report, width=width, colour=_wants_colour())
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(said.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _wants_colour() -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def write(report: Report, form: str, path: Path | None) -> None:
    """
    Write the report in one of `FORMS`, if there is a path for it.

    Raises:
        CliError: It cannot be written.
    """
    if path is None:
        return
    from lmi_runtime.stress.report import html, sarif, to_json

    if form == "html":
        told = html(report)
    else:
        told = json.dumps((sarif if form == "sarif" else to_json)(report), indent=1) + "\n"
    try:
        path.write_text(told, encoding="utf-8")
    except OSError as error:
        raise CliError(f"--{form} {path}: cannot be written: {error.strerror}") from error


def note(text: str) -> None:
    """Say something that is no part of the report."""
    print(f"lmi stress: {text}", file=sys.stderr)
