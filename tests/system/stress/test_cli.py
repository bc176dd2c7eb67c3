"""`lmi stress` as its users meet it: in a directory of their own, in a process of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S
from tests.support.repository import REPOSITORY

pytestmark = pytest.mark.system

# As a terminal would start it: a shell starts what it runs in the background, and so perhaps this
# test, with Ctrl-C ignored.
_AS_IN_A_TERMINAL = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
COMMAND = [
    sys.executable,
    "-c",
    _AS_IN_A_TERMINAL + "from lmi_runtime.cli import main; sys.exit(main())",
]

RACY = """
LAST = None

def handler(event, context):
    global LAST
    LAST = event["user"]
    log(event)
    return {"hello": LAST}

def log(event):
    return len(event)
"""
MENDED = RACY.replace('"hello": LAST', '"hello": event["user"]').replace("    LAST =", "    last =")
ENDLESS = """
def handler(event, context):
    return sum(one(number) for number in range(200))

def one(number):
    return number
"""

Lmi = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(**changes: str) -> dict[str, str]:
    unset = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYTEST_CURRENT_TEST", "TERM")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm", **changes}


@pytest.fixture
def lmi(tmp_path: Path) -> Lmi:
    """Run `lmi stress` in a directory with ``app.py`` and ``events.json``."""
    (tmp_path / "app.py").write_text(RACY)
    (tmp_path / "events.json").write_text('[{"user": "ann"}, {"user": "bob"}]')

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "stress", "--budget", "10m", *arguments],
            cwd=tmp_path,
            env=environment(**variables),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=PATIENCE_S,
            check=False,
        )

    return run


def last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]


@pytest.mark.slow
def test_race_is_found_kept_and_replayed_until_it_is_mended(lmi: Lmi, tmp_path: Path) -> None:
    found = lmi("app.handler")

    assert found.returncode == 1
    assert found.stdout.startswith("FAILED  app.handler\n\nfailure (isolation): ")
    assert "━━ invocation 1 is preempted, invocation 2 runs ━" in found.stdout
    assert found.stderr == "lmi stress: events from events.json\n"
    assert (tmp_path / ".lmi-stress" / ".gitignore").read_text() == "*\n"

    again = lmi("app.handler")
    assert again.returncode == 1
    assert "replay 1" in again.stdout

    command = re.search(r"^replay +lmi stress (--replay \S+)$", found.stdout, re.MULTILINE)
    assert command is not None
    replayed = lmi(*command[1].split())
    assert replayed.returncode == 1
    assert replayed.stdout.splitlines()[:4] == found.stdout.splitlines()[:4]

    (tmp_path / "app.py").write_text(MENDED)
    mended = lmi(*command[1].split())
    assert mended.returncode == 3
    assert mended.stdout.startswith("INCONCLUSIVE  app.handler\n")
    assert "what the token showed does not happen any more" in mended.stderr


def test_sound_handler_passes_and_keeps_nothing_when_told_so(lmi: Lmi, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(MENDED)

    done = lmi("app.handler", "--no-examples")

    assert done.returncode == 0
    assert done.stdout.startswith("PASSED  app.handler\n")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == [
        "app.py",
        "events.json",
    ]


def test_nothing_proven_has_a_status_of_its_own(lmi: Lmi, tmp_path: Path) -> None:
    (tmp_path / "events.json").unlink()

    done = lmi("app.handler")

    assert done.returncode == 3
    assert done.stdout.startswith("INCONCLUSIVE  app.handler\n")
    assert "Give an event that it accepts." in " ".join(done.stdout.split())
    assert done.stderr == (
        "lmi stress: no events were given or found: every invocation gets {}; "
        "see --events, --source\n"
    )


@pytest.mark.slow
def test_events_are_made_up_for_a_source_or_by_a_schema(lmi: Lmi, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(RACY.replace('event["user"]', 'event["Records"][0]["body"]'))
    schema = {"type": "object", "required": ["user"], "properties": {"user": {"type": "string"}}}
    (tmp_path / "schema.json").write_text(json.dumps(schema))

    done = lmi("app.handler", "--source", "sqs")
    assert done.returncode == 1
    assert "failure (isolation)" in done.stdout

    (tmp_path / "app.py").write_text(RACY)
    done = lmi("app.handler", "--schema", "schema.json")
    assert done.returncode == 1
    assert not (tmp_path / ".hypothesis").exists()


def test_reports_are_written_in_every_form(lmi: Lmi, tmp_path: Path) -> None:
    done = lmi(
        "app.handler", "--html", "r.html", "--json", "r.json", "--sarif", "r.sarif", "--seed", "7"
    )

    assert done.returncode == 1
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert json.loads((tmp_path / "r.json").read_text())["seed"] == 7
    assert json.loads((tmp_path / "r.sarif").read_text())["runs"]


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colour_is_for_those_who_want_it(
    lmi: Lmi, variables: dict[str, str], coloured: bool
) -> None:
    assert ("\x1b[" in lmi("app.handler", **variables).stdout) is coloured


def test_report_is_told_to_any_standard_output(lmi: Lmi) -> None:
    done = lmi("app.handler", PYTHONIOENCODING="ascii")

    assert done.returncode == 1
    assert "?? invocation 1 is preempted, invocation 2 runs ?" in done.stdout


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "Unable to import module 'gone': No module named 'gone'."),
        ("import nothing_there", "No module named 'nothing_there'. Install it beside"),
        ("def handler(e c): ...", "Syntax error in module 'gone': invalid syntax"),
        ("raise KeyError('TABLE')", "raised KeyError while it was imported: 'TABLE'."),
        ("import sys; sys.exit(0)", "raised SystemExit while it was imported: 0."),
        ("handle = 1", "Handler 'handler' missing on module 'gone'."),
        ("def handler(a, b, c): ...", "handler(a, b, c) cannot be a handler"),
    ],
)
def test_a_handler_that_cannot_be_imported_says_why(
    lmi: Lmi, tmp_path: Path, source: str | None, said: str
) -> None:
    if source is not None:
        (tmp_path / "gone.py").write_text(source)

    done = lmi("gone.handler")

    assert done.returncode == 2
    assert done.stdout == ""
    assert said in last_line(done.stderr)
    assert "lmi_runtime" not in done.stderr  # no frames of ours


def test_what_a_module_raised_is_shown_from_its_own_lines_on(lmi: Lmi, tmp_path: Path) -> None:
    (tmp_path / "gone.py").write_text("def table():\n    raise KeyError('TABLE')\ntable()\n")

    done = lmi("gone.handler")

    assert done.stderr.count("raise KeyError('TABLE')") == 1
    assert f'File "{tmp_path / "gone.py"}", line 3, in <module>' in done.stderr


def test_a_missing_extra_is_one_sentence(lmi: Lmi, tmp_path: Path) -> None:
    (tmp_path / "missing").mkdir()
    (tmp_path / "missing" / "hypothesis.py").write_text("raise ImportError(name='hypothesis')")

    done = lmi("app.handler", PYTHONPATH=f"{tmp_path / 'missing'}:{REPOSITORY}")

    assert done.returncode == 2
    assert done.stderr == (
        "lmi: `lmi stress` needs hypothesis: pip install 'lmi_runtime[stress]'\n"
    )


def test_a_terminal_shows_how_far_it_is_and_can_interrupt(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(ENDLESS)
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "stress", "app.handler", "--schedules", "1000000"],
        cwd=tmp_path,
        env=environment(COLUMNS="120"),
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    try:
        while not re.search(rb"stress.* of .*1,000,000 .*schedules", seen):
            seen += os.read(terminal, 4096)
        process.send_signal(signal.SIGINT)
        while chunk := _read(terminal):
            seen += chunk
        assert process.wait(PATIENCE_S) == 130
    finally:
        process.kill()
        process.communicate()
        os.close(terminal)
    assert re.search(rb"interrupted after [\d,]+ schedules in [\d.]+ s; a search that was", seen)
    assert b"Traceback" not in seen


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux's way to say that nobody holds the other end
        return b""
