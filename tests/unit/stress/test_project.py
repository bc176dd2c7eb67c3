"""Where handlers and their events are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmi_runtime.stress.project import event_files, handler_file, handler_of, task_root_of


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("reference", "file"),
    [
        ("app.handler", "app.py"),
        ("shop.api.handler", "shop/api.py"),
        ("shop/api.handler", "shop/api.py"),
        ("shop.handler", "shop/__init__.py"),
    ],
)
def test_a_handler_is_in_the_file_of_its_module(tmp_path: Path, reference: str, file: str) -> None:
    put(tmp_path, file)

    assert handler_file(reference, tmp_path) == tmp_path / file


@pytest.mark.parametrize("reference", ["app.handler", "handler", "", "."])
def test_a_handler_without_a_file_has_none(tmp_path: Path, reference: str) -> None:
    assert handler_file(reference, tmp_path) is None


def test_events_are_looked_for_in_the_usual_places_the_nearest_first(tmp_path: Path) -> None:
    assert event_files(tmp_path) == ()

    put(tmp_path, "events/b.json", "events/a.json", "events/a.txt")
    assert event_files(tmp_path) == (tmp_path / "events/a.json", tmp_path / "events/b.json")

    put(tmp_path, "tests/events/c.json")
    assert event_files(tmp_path) == (tmp_path / "tests/events/c.json",)

    put(tmp_path, "events.json")
    assert event_files(tmp_path) == (tmp_path / "events.json",)


@pytest.mark.parametrize(
    ("file", "root"),
    [
        ("tests/unit/app.py", "tests/unit"),
        ("tests/app.py", "tests"),
        ("app.py", "."),
        ("src/app.py", "src"),
    ],
)
def test_a_handler_is_imported_from_the_nearest_directory_that_has_it(
    tmp_path: Path, file: str, root: str
) -> None:
    put(tmp_path, file)

    assert task_root_of("app.handler", tmp_path / "tests" / "unit", tmp_path) == tmp_path / root


def test_nothing_above_the_project_is_looked_at(tmp_path: Path) -> None:
    put(tmp_path, "app.py")

    assert task_root_of("app.handler", tmp_path / "one", tmp_path / "one") is None
    assert task_root_of("app.handler", tmp_path / "one", tmp_path / "two") is None


@pytest.mark.parametrize(
    ("subject", "handler"),
    [
        ("app.handler#2", "app.handler"),
        ("app.handler", "app.handler"),
        ("test_a.py::test_b[#x]", "test_a.py::test_b[#x]"),
    ],
)
def test_a_token_names_a_handler(subject: str, handler: str) -> None:
    assert handler_of(subject) == handler
