"""What one invocation does to what all share is named, with the line; what is its own is not."""

from __future__ import annotations

import ctypes
import locale
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lmi_runtime.stress.oracles import audit
from lmi_runtime.stress.oracles.environment import (
    Deed,
    judge_changes,
    judge_deeds,
    own_files,
    recording,
    uncontrolled,
)
from lmi_runtime.stress.oracles.leaks import left_files
from lmi_runtime.stress.program import Complaint
from lmi_runtime.stress.world import Change, World


class Stage:
    """Says who runs."""

    def __init__(self) -> None:
        self.actor: int | None = None
        self.deeds: list[Deed] = []

    def run(self, actor: int | None, call: Callable[[], Any]) -> None:
        self.actor = actor
        try:
            call()
        finally:
            self.actor = None

    def paths(self) -> list[str]:
        return [it.object_path for it in judge_deeds(self.deeds)]

    def complaints(self) -> tuple[Complaint, ...]:
        return judge_deeds(self.deeds)


@pytest.fixture
def stage() -> Iterator[Stage]:
    world = World.capture()
    made = Stage()
    with recording(lambda: made.actor, lambda file: file == __file__) as recorder:
        made.deeds = recorder.deeds
        yield made
    world.restore()


def write(path: Path, text: str = "x") -> Callable[[], object]:
    return lambda: path.write_text(text)


def test_a_fixed_name_that_two_write_is_named(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "work.txt"
    stage.run(1, write(path))
    stage.run(2, write(path))

    (found,) = stage.complaints()

    assert found.oracle == "environment"
    assert found.object_path == str(path)
    assert found.sentence.startswith(f"invocation 1 writes {path} (test_environment.py:")
    assert "invocation 2 writes it, too (test_environment.py:" in found.sentence
    assert "request_tmpdir()" in found.hint


def test_one_may_write_what_the_other_reads_only_if_the_names_differ(
    stage: Stage, tmp_path: Path
) -> None:
    path = tmp_path / "shared"
    path.write_text("x")
    stage.run(1, path.read_text)
    stage.run(2, path.read_text)
    assert stage.paths() == []

    stage.run(2, write(path))
    assert stage.paths() == [str(path)]


def test_one_invocation_may_do_with_a_name_what_it_likes(stage: Stage, tmp_path: Path) -> None:
    stage.run(1, write(tmp_path / "a"))
    stage.run(1, (tmp_path / "a").read_text)
    stage.run(2, write(tmp_path / "b"))

    assert stage.paths() == []


def test_the_harness_may_do_what_it_likes(stage: Stage, tmp_path: Path) -> None:
    stage.run(None, write(tmp_path / "a"))
    stage.run(1, write(tmp_path / "a"))

    assert stage.paths() == []


def test_actors_of_one_invocation_are_one(stage: Stage, tmp_path: Path) -> None:
    stage.run(1, write(tmp_path / "a"))
    stage.run(5, write(tmp_path / "a"))

    assert judge_deeds(stage.deeds, invocation_of={1: 1, 5: 1}.get) == ()
    assert judge_deeds(stage.deeds, invocation_of={1: 1}.get) == ()


def test_names_made_by_tempfile_are_ones_own(stage: Stage, tmp_path: Path) -> None:
    def work() -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as made:
            write(Path(made) / "fixed")()
        with tempfile.NamedTemporaryFile(dir=tmp_path) as file:
            write(Path(file.name))()

    stage.run(1, work)
    stage.run(2, work)

    assert stage.paths() == []


def test_a_temporary_name_handed_to_another_is_shared(stage: Stage, tmp_path: Path) -> None:
    names: list[Path] = []
    stage.run(1, lambda: names.append(Path(tempfile.mkdtemp(dir=tmp_path)) / "f"))
    stage.run(2, lambda: names[0].write_text("x"))
    stage.run(3, lambda: names[0].write_text("x"))

    assert stage.paths() == [str(names[0])]


def test_a_temporary_file_may_be_handed_on_to_a_reader(stage: Stage, tmp_path: Path) -> None:
    names: list[Path] = []
    stage.run(1, lambda: names.append(Path(tempfile.mkdtemp(dir=tmp_path)) / "f"))
    stage.run(1, lambda: names[0].write_text("x"))
    stage.run(2, lambda: names[0].read_text())

    assert stage.paths() == []


def test_names_with_ones_own_token_are_ones_own(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "out-ca1.txt"
    stage.run(1, write(path))
    stage.run(2, write(path))

    assert judge_deeds(stage.deeds, tokens={1: ["ca1"], 2: ["ca2"]}) == ()
    assert len(judge_deeds(stage.deeds, tokens={1: ["ca7"]})) == 1


def test_moving_into_place_and_creating_exclusively_are_one_step(
    stage: Stage, tmp_path: Path
) -> None:
    target = tmp_path / "cache.json"

    def replace() -> None:
        handle, name = tempfile.mkstemp(dir=tmp_path)
        os.close(handle)
        os.replace(name, target)
        target.read_text()

    def lock() -> None:
        os.close(os.open(tmp_path / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.remove(tmp_path / "lock")

    for actor in (1, 2):
        stage.run(actor, replace)
        stage.run(actor, lock)

    assert stage.paths() == []


def test_devices_and_compiled_modules_are_no_files(stage: Stage) -> None:
    for actor in (1, 2):
        stage.run(actor, lambda: Path(os.devnull).write_text("x"))

    assert stage.paths() == []


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (lambda: os.environ.update(TENANT_X="a"), "os.environ['TENANT_X']", "sets"),
        (lambda: os.environ.pop("GIVEN"), "os.environ['GIVEN']", "deletes"),
        (lambda: os.chdir("/"), "chdir", "current directory"),
        (lambda: random.seed(1), "random", "random generator"),
        (lambda: random.setstate(random.getstate()), "random", "random generator"),
        (lambda: os.umask(0o22), "umask", "umask"),
        (lambda: locale.setlocale(locale.LC_CTYPE, "C"), "locale", "locale"),
        (lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN), "signal", "signal handler"),
    ],
)
def test_what_the_process_has_one_of(
    monkeypatch: pytest.MonkeyPatch,
    stage: Stage,
    change: Callable[[], Any],
    path: str,
    words: str,
) -> None:
    monkeypatch.setenv("GIVEN", "1")
    monkeypatch.chdir("/")
    stage.run(2, change)

    (found,) = stage.complaints()

    assert found.object_path == path
    assert words in found.sentence
    assert "invocation 2" in found.sentence and "test_environment.py" in found.sentence
    assert found.hint


def test_asking_and_drawing_change_nothing(stage: Stage) -> None:
    stage.run(1, random.random)
    stage.run(1, lambda: locale.setlocale(locale.LC_ALL))
    stage.run(1, lambda: locale.setlocale(locale.LC_ALL, None))
    stage.run(1, lambda: os.environ.get("HOME"))

    assert stage.deeds == []


def test_writing_what_was_there_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    monkeypatch.setenv("TZ_SAME", "UTC")
    stage.run(1, lambda: os.environ.update(TZ_SAME="UTC"))

    assert judge_deeds(stage.deeds, before={"TZ_SAME": "UTC"}) == ()


def test_what_is_not_controlled_is_named(stage: Stage, tmp_path: Path) -> None:
    def connect() -> None:
        with socket.socket() as listening, socket.socket() as calling:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            calling.connect(listening.getsockname())

    def start() -> None:
        subprocess.run([sys.executable, "-c", ""], check=True)

    def open_database() -> None:
        sqlite3.connect(str(tmp_path / "db")).close()
        sqlite3.connect(":memory:").close()  # nobody else can ever see it

    stage.run(1, connect)
    stage.run(1, start)
    stage.run(2, open_database)
    stage.run(2, lambda: ctypes.CDLL(None))

    sentences = uncontrolled(stage.deeds)

    assert any("invocation 1 connects to 127.0.0.1:" in it for it in sentences)
    assert any(f"starts another process, {sys.executable} -c" in it for it in sentences)
    assert any(f"invocation 2 opens the database {tmp_path}/db" in it for it in sentences)
    assert not any(":memory:" in it for it in sentences)
    assert any("loads the C library" in it for it in sentences)
    assert all("test_environment.py:" in it for it in sentences)


def test_files_with_ones_own_names_are_to_be_taken_away(stage: Stage, tmp_path: Path) -> None:
    made: list[str] = []
    stage.run(1, lambda: made.append(tempfile.mkdtemp(dir=tmp_path)))
    stage.run(2, write(tmp_path / "of-ca2"))
    stage.run(2, write(tmp_path / "fixed"))

    own = own_files(stage.deeds, tokens={2: ["ca2"]})

    assert own == ((made[0], 1), (str(tmp_path / "of-ca2"), 2))
    assert len(left_files(own)) == 2


def test_nothing_is_recorded_afterwards(tmp_path: Path) -> None:
    with recording(lambda: 1) as recorder:
        write(tmp_path / "a")()
    count = len(recorder.deeds)
    seed = random.seed

    write(tmp_path / "b")()
    random.seed(2)

    assert count > 0
    assert len(recorder.deeds) == count
    assert seed.__self__ is random._inst  # type: ignore[attr-defined]


def test_the_hook_is_installed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[object] = []
    monkeypatch.setattr(audit, "_installed", False)
    monkeypatch.setattr(sys, "addaudithook", added.append)
    with ExitStack() as stack:
        stack.enter_context(recording(lambda: None))
        stack.enter_context(recording(lambda: None))

    assert len(added) == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Change("os.environ", "os.environ['A']", "nothing", "'1'"), True),
        (Change("logging", "logging.getLogger('app').level", "0", "10"), True),
        (Change("logging", "logging.getLogger('new').level", "nothing", "0"), False),
        (Change("logging", "logging.getLogger('app').handlers", "()", "('X',)"), False),
        (Change("attributes", "tempfile.tempdir", "None", "'/tmp'"), False),
        (Change("attributes", "sys.stdout", "<A>", "<B>"), True),
    ],
)
def test_changes_that_matter(change: Change, expected: bool) -> None:
    found = judge_changes([change])

    assert bool(found) is expected
    assert all(it.hint and it.object_path == change.path for it in found)
