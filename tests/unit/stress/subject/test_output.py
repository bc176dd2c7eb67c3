"""Who wrote what, and that the terminal belongs to the one that explores."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field

import pytest

from lmi_runtime.stress.subject.output import Output, captured


@dataclass
class _Desk:
    """Decides who writes. Thread safety: one thread."""

    writer: int | None = None
    inside: bool = True
    terminal: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.output = Output(lambda: self.writer, lambda: self.inside)


@contextmanager
def _desk(writer: int | None = None) -> Iterator[_Desk]:
    """Not a fixture: pytest puts its own streams in place between a test's setup and the test."""
    desk = _Desk(writer)
    with redirect_stdout(desk.terminal), redirect_stderr(desk.terminal), captured(desk.output):
        yield desk


def test_lines_are_kept_by_their_writer() -> None:
    with _desk() as desk:
        for writer in (1, 2, 1):
            desk.writer = writer
            print("by", writer)
    assert desk.output.of(1) == "by 1\nby 1\n"
    assert desk.output.of(2) == "by 2\n"
    assert desk.output.of(3) == ""
    assert desk.terminal.getvalue() == ""


def test_what_nobody_wrote_is_of_no_invocation() -> None:
    with _desk() as desk:
        print("a library's thread")
    assert desk.output.of(1) == desk.terminal.getvalue() == ""


def test_what_is_written_between_runs_reaches_the_terminal() -> None:
    with _desk(1) as desk:
        desk.inside = False
        print("progress", flush=True)
    assert desk.terminal.getvalue() == "progress\n"
    assert desk.output.of(1) == ""


def test_a_new_run_begins_with_nothing() -> None:
    with _desk(1) as desk:
        print("old")
        desk.output.clear()
    assert desk.output.of(1) == ""


def test_standard_error_bytes_and_lines_count_as_well() -> None:
    with _desk(1) as desk:
        sys.stderr.write("a ")
        sys.stdout.buffer.write(b"b\xff ")
        sys.stdout.writelines(["c", "d"])
    assert desk.output.of(1) == "a b\N{REPLACEMENT CHARACTER} cd"


def test_a_handler_cannot_close_what_all_write_to() -> None:
    with _desk(1) as desk:
        sys.stdout.close()
        print("still here")
    assert desk.output.of(1) == "still here\n"


def test_log_records_have_the_level_and_warnings_upwards() -> None:
    with _desk(2) as desk:
        logging.getLogger("app").warning("low on %s", "stock")
        logging.getLogger("app").info("not asked for")
    assert desk.output.of(2) == "[WARNING]\tlow on stock\n"


def _change_everything() -> None:
    with captured(_Desk().output):
        logging.basicConfig(level=logging.DEBUG, force=True)
        raise LookupError


def test_streams_and_handlers_are_put_back_after_an_error() -> None:
    root = logging.getLogger()
    before = sys.stdout, sys.stderr, root.handlers[:], root.level
    with pytest.raises(LookupError):
        _change_everything()
    assert (sys.stdout, sys.stderr, root.handlers[:], root.level) == before
