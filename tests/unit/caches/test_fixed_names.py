"""A path under /tmp that two requests in flight write is warned of, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextvars import Context
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lmi_runtime.caches import fixed_names
from lmi_runtime.caches.fixed_names import _on_event, taking_care
from lmi_runtime.context import Request, enter
from lmi_runtime.model import Invocation
from tests.support.patience import PATIENCE_S
from tests.support.repository import REPOSITORY

T = TypeVar("T")
WRITE = os.O_WRONLY | os.O_CREAT


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As after `watch_fixed_names`, without a hook that would stay."""
    monkeypatch.setattr(fixed_names, "_warned", {})
    monkeypatch.setattr(fixed_names, "_prefixes", ("/tmp/",))
    monkeypatch.setattr(fixed_names, "_own_prefixes", ("/tmp/lmi-",))
    yield
    assert fixed_names._writers == {}


class Flight:
    """A request that is in flight."""

    def __init__(self, request_id: str = "r") -> None:
        self.request = Request(Invocation(request_id=request_id))
        self._context = Context()
        self._context.run(enter, self.request)

    def run(self, function: Callable[[], T]) -> T:
        return self._context.run(function)

    def opens(self, path: Any, flags: Any = WRITE, event: str = "open") -> None:
        self.run(lambda: _on_event(event, (path, "w", flags)))

    def end(self) -> None:
        self.request.end()


@pytest.fixture
def two() -> Iterator[tuple[Flight, Flight]]:
    flights = Flight("one"), Flight("other")
    yield flights
    for flight in flights:
        flight.end()


def test_two_requests_that_write_one_path_are_warned_of_once(
    two: tuple[Flight, Flight], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        for flight in two:
            flight.opens("/tmp/input.pdf")

    assert [record.getMessage() for record in caplog.records] == [
        "Two requests that are served at the same time write /tmp/input.pdf. Give each its own: "
        "lmi_runtime.request_tmpdir(); or let one at a time: lmi_runtime.locked_file()."
    ]


@pytest.mark.parametrize(
    ("path", "flags", "event"),
    [
        ("/tmp/a", os.O_RDONLY, "open"),
        ("/tmp/a", WRITE, "os.remove"),
        ("/home/a", WRITE, "open"),
        ("/tmp/lmi-locks-0/files", WRITE, "open"),
        (b"/tmp/a", WRITE, "open"),
        (3, WRITE, "open"),
        (None, WRITE, "open"),
        ("/tmp/a", None, "open"),
    ],
)
def test_what_harms_nobody_is_not_warned_of(
    two: tuple[Flight, Flight], caplog: pytest.LogCaptureFixture, path: Any, flags: Any, event: str
) -> None:
    for flight in two:
        flight.opens(path, flags, event)

    assert caplog.records == []


def test_one_request_after_the_other_is_fine(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        flight = Flight()
        flight.opens("/tmp/a")
        flight.opens("/tmp/a")
        flight.end()

    assert caplog.records == []


def test_a_request_that_ends_at_this_moment_does_not_count(
    two: tuple[Flight, Flight], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = two
    one.opens("/tmp/a")
    one.request.ended = True  # and has not come to forgetting what it wrote

    other.opens("/tmp/a")

    assert caplog.records == []


def test_requests_that_go_on_writing_a_path_do_not_pile_anything_up(
    two: tuple[Flight, Flight], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, noted = Request.at_end, []

    def at_end(self: Request, callback: Callable[[], object]) -> None:
        noted.append(callback)
        real(self, callback)

    monkeypatch.setattr(Request, "at_end", at_end)
    for _ in range(20):
        for flight in two:
            flight.opens("/tmp/a")

    assert len(noted) == 2


def test_code_that_serves_nobody_and_code_that_outlived_its_request_do_not_count(
    two: tuple[Flight, Flight], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = two
    _on_event("open", ("/tmp/a", "w", WRITE))
    one.opens("/tmp/a")
    other.end()
    other.opens("/tmp/a")

    assert caplog.records == []


def test_a_thread_that_takes_care_is_not_warned_of(
    two: tuple[Flight, Flight], caplog: pytest.LogCaptureFixture
) -> None:
    for flight in two:
        with taking_care():
            flight.opens("/tmp/a")

    assert caplog.records == []


def test_a_request_is_not_kept_for_what_it_wrote() -> None:
    flight = Flight()
    flight.opens("/tmp/a")
    assert len(fixed_names._writers) == 1
    flight.end()

    assert fixed_names._writers == {}


def test_the_end_of_an_earlier_writer_does_not_hide_the_last_one(
    two: tuple[Flight, Flight], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = two
    third = Flight()
    one.opens("/tmp/a")
    other.opens("/tmp/a")
    fixed_names._warned.clear()
    one.end()

    third.opens("/tmp/a")

    assert len(caplog.records) == 2
    third.end()


def test_after_many_warnings_no_more_are_given(
    two: tuple[Flight, Flight], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(fixed_names._ENOUGH_WARNINGS + 20):
        for flight in two:
            flight.opens(f"/tmp/{number}")

    assert len(caplog.records) == fixed_names._ENOUGH_WARNINGS


def test_the_hook_is_added_once_and_knows_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks: list[object] = []
    monkeypatch.setattr(sys, "addaudithook", hooks.append)
    monkeypatch.setattr(fixed_names, "_watching", {})
    monkeypatch.setenv("TMPDIR", f"{tmp_path}/")

    for _ in range(2):
        fixed_names.watch_fixed_names()

    assert hooks == [_on_event]
    assert set(fixed_names._prefixes) == {"/tmp/", "/var/tmp/", f"{tmp_path}/"}


CODE = """
import io, logging, os, pathlib, sys
from contextvars import Context
from lmi_runtime.caches.fixed_names import watch_fixed_names
from lmi_runtime.caches.locked import locked_file
from lmi_runtime.caches.scratch import request_tmpdir
from lmi_runtime.context import Request, enter
from lmi_runtime.model import Invocation

logging.basicConfig(format="%(message)s", stream=sys.stdout)
watch_fixed_names()
watch_fixed_names()
top = pathlib.Path(os.environ["TMPDIR"])

def write():
    open(top / "a", "w").close()
    (top / "b").write_text("x")
    os.close(os.open(str(top / "c"), os.O_RDWR | os.O_CREAT))
    open(top / "a").close()
    with locked_file(top / "d", "w"):
        pass
    (request_tmpdir() / "e").touch()

for name in ("one", "other"):
    context = Context()
    context.run(enter, Request(Invocation(request_id=name)))
    context.run(write)
"""


def test_the_real_hook_sees_every_way_to_open(tmp_path: Path) -> None:
    """In a process of its own: a hook cannot be taken away."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line, name in zip(lines, "abc", strict=True):
        assert f" write {tmp_path}/{name}. " in line
