"""What `lmi load` shows."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from lmi_runtime.cli.memory import Footprint
from lmi_runtime.emulator import LoadProgress, LoadReport

__all__ = ["progress_bar", "show"]


@contextmanager
def progress_bar(seconds: float) -> Iterator[Callable[[LoadProgress], None]]:
    """Show a bar on standard error while the load runs; yields what moves it."""
    bar = Progress(
        TextColumn("[bold]load"),
        BarColumn(),
        TextColumn("{task.fields[ok]:,} answered"),
        TextColumn("{task.fields[refused]:,} refused"),
        TextColumn("{task.fields[failed]:,} failed"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("load", total=1.0, ok=0, refused=0, failed=0)

        def advance(progress: LoadProgress) -> None:
            bar.update(
                task,
                completed=progress.share,
                ok=progress.ok,
                refused=progress.refused,
                failed=progress.failed,
            )

        yield advance


def show(
    arguments: argparse.Namespace, report: LoadReport, footprint: Footprint, errors: int
) -> None:
    """Print the report."""
    callers = arguments.callers or arguments.concurrency
    table = Table(
        title=f"{arguments.handler}: {callers} callers, {arguments.concurrency} slots, "
        f"{report.elapsed_s:.1f} s",
        show_header=False,
        title_justify="left",
    )
    table.add_column(style="bold")
    table.add_column(justify="right")
    rows = [
        ("throughput", f"{report.throughput_rps:,.0f} /s"),
        ("p50", f"{report.p50_ms:.1f} ms"),
        ("p95", f"{report.p95_ms:.1f} ms"),
        ("p99", f"{report.p99_ms:.1f} ms"),
        ("max", f"{report.max_ms:.1f} ms"),
        ("answered", f"{report.ok:,}"),
        ("refused", f"{report.refused:,}"),
        ("failures", f"{report.failed:,}"),
        *((f"  {name}", f"{count:,}") for name, count in sorted(report.failures.items())),
        ("error lines in the log", f"{errors:,}"),
        ("processes", f"{footprint.processes}"),
        ("memory", _memory(footprint)),
    ]
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    if report.failed or errors:
        Console().print("Run again with --logs to see what the function says.", style="yellow")


def _memory(footprint: Footprint) -> str:
    if footprint.pss_mb is None:
        return f"{footprint.rss_mb:,.0f} MiB (resident)"
    return f"{footprint.pss_mb:,.0f} MiB (shared pages counted once)"
