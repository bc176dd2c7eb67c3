"""What `lmi load` shows and measures."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from types import MappingProxyType

import psutil
import pytest

from lmi_runtime.cli.load import _Log
from lmi_runtime.cli.memory import Footprint, measure
from lmi_runtime.cli.report import progress_bar, show
from lmi_runtime.emulator import LoadProgress, LoadReport, LogLine

ARGUMENTS = argparse.Namespace(handler="app.handler", callers=None, concurrency=32)


def report(**changes: object) -> LoadReport:
    facts: dict[str, object] = {
        "elapsed_s": 10.04,
        "requests": 1_236,
        "ok": 1_234,
        "refused": 0,
        "failures": MappingProxyType({}),
        "throughput_rps": 1234.5,
        "mean_ms": 1.0,
        "p50_ms": 1.0,
        "p95_ms": 2.0,
        "p99_ms": 3.0,
        "max_ms": 4.0,
    }
    return LoadReport(**(facts | changes))  # type: ignore[arg-type]


def shown(
    capsys: pytest.CaptureFixture[str],
    load: LoadReport,
    footprint: Footprint,
    *,
    errors: int = 0,
) -> dict[str, str]:
    """The rows of the table, and its first line as `title`."""
    show(ARGUMENTS, load, footprint, errors)
    title, *lines = capsys.readouterr().out.splitlines()
    cells = [line.strip("│").split("│") for line in lines if line.startswith("│")]
    rows = {name[1:].rstrip(): value.strip() for name, value in cells}
    return {**rows, "title": title.strip(), "last": lines[-1]}


def test_a_table_says_all_there_is_to_say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")

    rows = shown(capsys, report(), Footprint(processes=3, rss_mb=80.2, pss_mb=40.6))

    assert rows.pop("title") == "app.handler: 32 callers, 32 slots, 10.0 s"
    assert rows.pop("last").startswith("└")
    assert rows == {
        "throughput": "1,234 /s",
        "p50": "1.0 ms",
        "p95": "2.0 ms",
        "p99": "3.0 ms",
        "max": "4.0 ms",
        "answered": "1,234",
        "refused": "0",
        "failures": "0",
        "error lines in the log": "0",
        "processes": "3",
        "memory": "41 MiB (shared pages counted once)",
    }


def test_failures_are_named_and_say_where_to_look(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    failures = MappingProxyType({"Function.ValueError": 2, "Runtime.ExitError": 1})

    rows = shown(capsys, report(failures=failures), Footprint(2, 80.2, None), errors=3)

    assert rows["failures"] == "3"
    assert (rows["  Function.ValueError"], rows["  Runtime.ExitError"]) == ("2", "1")
    assert rows["error lines in the log"] == "3"
    assert rows["memory"] == "80 MiB (resident)"
    assert rows["last"] == "Run again with --logs to see what the function says."


def test_progress_is_shown_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(1.0) as advance:
        advance(LoadProgress(elapsed_s=0.5, share=0.5, ok=1_234, refused=5, failed=6))

    assert capsys.readouterr().out == ""


def test_memory_is_that_of_the_whole_tree() -> None:
    mine = measure(os.getpid())
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE) as tree:
        while len(psutil.Process(tree.pid).children()) < 1:
            assert tree.poll() is None
        with_it = measure(tree.pid)
        assert tree.stdin is not None
        tree.stdin.write(b"\n")

    assert with_it.processes == 2
    assert with_it.rss_mb > 0
    assert mine.rss_mb > 0
    assert (with_it.pss_mb is None) == (sys.platform != "linux")


def test_a_tree_that_is_gone_takes_no_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()

    assert measure(gone.pid) == Footprint(processes=0, rss_mb=0.0, pss_mb=0.0)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ('{"level": "ERROR", "message": "x"}', 1),
        ('{"level":"ERROR","message":"x"}', 1),
        ('{"message": "x", "level": "CRITICAL"}', 1),
        ('{"level": "WARNING", "message": "ERROR"}', 0),
        ("ERROR", 0),
    ],
)
def test_error_lines_are_counted_whoever_wrote_them(text: str, counts: int) -> None:
    log = _Log(echo=False)

    log(LogLine("stdout", text))

    assert log.errors == counts


def test_the_last_lines_are_kept_for_when_it_does_not_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = _Log(echo=False)
    for number in range(30):
        log(LogLine("stderr", str(number)))

    log.replay()

    assert capsys.readouterr().err.split() == [str(number) for number in range(10, 30)]


def test_lines_that_were_shown_are_not_shown_again(capsys: pytest.CaptureFixture[str]) -> None:
    log = _Log(echo=True)
    log(LogLine("stdout", "once"))
    log.replay()

    assert capsys.readouterr().err == "once\n"
