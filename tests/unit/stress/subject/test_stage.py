"""Fresh modules for each run, a process that is put back, and a tidy temporary directory."""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lmi_runtime.stress.oracles.environment import Deed
from lmi_runtime.stress.subject import stage as stages
from lmi_runtime.stress.subject.stage import Stage, serving, who

_numbers = itertools.count()


@contextmanager
def _stage(root: Path, source: str, **others: str) -> Iterator[Stage]:
    name = f"staged_{next(_numbers)}"
    for file, text in {name: source, **others}.items():
        (root / f"{file}.py").write_text(text)
    with Stage.set_up(name, str(root)) as stage:
        try:
            yield stage
        finally:
            stage.world.restore()


def test_every_import_starts_anew(tmp_path: Path) -> None:
    with _stage(tmp_path, "import helper_anew\nSEEN = []\n", helper_anew="KEPT = {}\n") as stage:
        first = stage.fresh()
        first.SEEN.append(1)
        first.helper_anew.KEPT["a"] = 1
        stage.world.restore()
        again = stage.fresh()
        assert (again.SEEN, again.helper_anew.KEPT) == ([], {})
        assert again is not first
    assert "helper_anew" not in sys.modules


def test_a_copy_shares_nothing_with_the_first(tmp_path: Path) -> None:
    with _stage(tmp_path, "SEEN = []\n") as stage:
        first, other = stage.fresh(), stage.copy()
        first.SEEN.append(1)
        assert other.SEEN == []


def test_the_process_looks_like_lambda_and_then_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    before = dict(os.environ), sys.path[:]
    with _stage(tmp_path, "import os\nNAME = os.environ['AWS_LAMBDA_FUNCTION_NAME']\n") as stage:
        assert stage.fresh().NAME == "function"
        assert os.environ["AWS_REGION"] == "eu-north-1"
        assert sys.path[0] == str(tmp_path)
    assert (dict(os.environ), sys.path) == before


def test_what_a_module_changes_is_restored(tmp_path: Path) -> None:
    source = "import os, random\nos.environ['MADE_BY_APP'] = '1'\nrandom.seed(3)\n"
    with _stage(tmp_path, source) as stage:
        stage.fresh()
        assert "MADE_BY_APP" in os.environ
        stage.world.restore()
        assert "MADE_BY_APP" not in os.environ


def test_what_a_module_prints_when_imported_is_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with _stage(tmp_path, "print('imported')\n") as stage:
        stage.fresh()
        print("exploring")
    assert capsys.readouterr().out == "exploring\n"


def test_the_process_is_put_back_when_the_import_fails(tmp_path: Path) -> None:
    before = dict(os.environ), sys.path[:], sys.stdout
    source = "import os\nos.environ['MADE_BY_APP'] = '1'\nraise LookupError('no table')\n"
    with pytest.raises(LookupError, match="no table"), _stage(tmp_path, source) as stage:
        stage.fresh()
    assert (dict(os.environ), sys.path, sys.stdout) == before


def test_only_the_users_own_files_are_the_users(tmp_path: Path) -> None:
    with _stage(tmp_path, "") as stage:
        assert stage.is_users(stage.fresh().__file__ or "")
        assert not stage.is_users(os.__file__)
        assert not stage.is_users(pytest.__file__)
        assert not stage.is_users(stages.__file__)


def test_the_script_that_explores_is_not_said_to_be_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "command"
    command.write_text("")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(command), raising=False)
    with _stage(tmp_path, "") as stage:
        stage.fresh()
        assert stage.is_users(str(command))
        assert stage.world.stale == ()


def test_nobody_is_served_outside_of_a_run() -> None:
    token = serving.set(1)
    try:
        assert who() is None
    finally:
        serving.reset(token)


# ---------------------------------------------------------------------- files


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "temporary"
    place.mkdir()
    (place / "there.txt").write_text("mine")
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def _deeds(kind: str, *paths: Path) -> list[Deed]:
    return [Deed(1, kind, str(path)) for path in paths]


def test_what_a_run_made_is_removed_with_all_that_is_in_it(tmp_path: Path, temporary: Path) -> None:
    with _stage(tmp_path, "") as stage:
        file, folder = temporary / "a.txt", temporary / "made"
        file.write_text("")
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "b.txt").write_text("")
        made = [*_deeds("write", file, temporary / "gone"), *_deeds("mkdir", folder / "deep")]
        stage.remove_files(made)
    assert [each.name for each in temporary.iterdir()] == ["there.txt"]


def test_what_was_there_is_elsewhere_or_was_only_read_stays(
    tmp_path: Path, temporary: Path
) -> None:
    elsewhere, read = tmp_path / "elsewhere.txt", temporary / "read.txt"
    elsewhere.write_text("")
    with _stage(tmp_path, "") as stage:
        read.write_text("")
        written = _deeds("write", temporary / "there.txt", elsewhere, temporary)
        stage.remove_files([*written, *_deeds("read", read)])
    assert elsewhere.exists()
    assert read.exists()
    assert (temporary / "there.txt").read_text() == "mine"


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path, temporary: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    with _stage(tmp_path, "") as stage:
        (temporary / "link").symlink_to(kept)
        stage.remove_files(_deeds("create", temporary / "link"))
    assert kept.is_dir()
    assert not (temporary / "link").is_symlink()
