"""Calls that wait for a module's import."""

from __future__ import annotations

import importlib
import importlib.resources
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lmi_runtime.integrations import importing
from lmi_runtime.integrations.importing import when_imported


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package that nobody has imported, with a module and a file of data."""
    name = f"waited_for_{tmp_path.name}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("state = 'made'\n")
    (folder / "inner.py").write_text("state = 'made'\n")
    (folder / "data.txt").write_text("text")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    for module in (name, f"{name}.inner"):
        sys.modules.pop(module, None)


def test_nothing_is_imported_for_asking(package: str) -> None:
    when_imported(package, lambda module: None)
    assert package not in sys.modules


def test_it_is_called_before_the_importer_sees_the_module(package: str) -> None:
    def change(module: ModuleType) -> None:
        module.state = f"{module.state} and changed"  # type: ignore[attr-defined]

    when_imported(f"{package}.inner", change)
    inner = importlib.import_module(f"{package}.inner")
    assert inner.state == "made and changed"
    assert importlib.import_module(f"{package}.inner") is inner
    assert inner.state == "made and changed"


def test_what_is_there_already_is_changed_at_once(package: str) -> None:
    module = importlib.import_module(package)
    seen: list[ModuleType] = []
    when_imported(package, seen.append)
    assert seen == [module]


def test_everybody_who_waits_is_called_in_turn(package: str) -> None:
    seen: list[str] = []
    when_imported(package, lambda _: seen.append("first"))
    when_imported(package, lambda _: seen.append("second"))
    importlib.import_module(package)
    assert seen == ["first", "second"]


def test_a_module_that_is_imported_again_is_told_again(package: str) -> None:
    seen: list[ModuleType] = []
    when_imported(package, seen.append)
    first = importlib.import_module(package)
    del sys.modules[package]
    second = importlib.import_module(package)
    assert seen == [first, second]
    assert first is not second


def test_the_loader_leaves_no_trace(package: str) -> None:
    when_imported(package, lambda module: None)
    module = importlib.import_module(package)
    plain = importlib.import_module(f"{package}.inner")
    assert module.__spec__ is not None
    assert type(module.__spec__.loader) is type(plain.__spec__.loader)  # type: ignore[union-attr]
    assert module.__loader__ is module.__spec__.loader
    assert importlib.resources.files(module).joinpath("data.txt").read_text() == "text"


def test_whoever_looks_a_module_up_without_importing_it_can_read_its_code(package: str) -> None:
    when_imported(package, lambda module: None)
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.loader is not None
    assert spec.loader.get_code(package) is not None  # type: ignore[attr-defined]
    assert package not in sys.modules


def test_a_module_that_is_not_there_is_still_not_found(package: str) -> None:
    when_imported(f"{package}.nothing", lambda module: None)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{package}.nothing")


class AsksTheOthers:
    """A finder like ours, of somebody else's."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        found = (each.find_spec(name, path, target) for each in sys.meta_path if each is not self)
        return next(filter(None, found), None)


@pytest.mark.parametrize("place", [0, 1], ids=["before", "behind"])
def test_another_finder_may_ask_the_others_as_well(
    package: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ModuleType] = []
    when_imported(package, seen.append)
    ours = [importing._finder]
    others = [each for each in sys.meta_path if each is not importing._finder]
    ours.insert(place, AsksTheOthers())  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "meta_path", [*ours, *others])

    module = importlib.import_module(package)

    assert set(map(id, seen)) == {id(module)}


def test_a_module_that_raises_while_it_is_imported_is_not_told_of(package: str) -> None:
    folder = importlib.import_module(package).__path__[0]
    Path(folder, "broken.py").write_text("raise ValueError('broken')\n")
    importlib.invalidate_caches()
    seen: list[ModuleType] = []
    when_imported(f"{package}.broken", seen.append)
    with pytest.raises(ValueError, match="broken"):
        importlib.import_module(f"{package}.broken")
    assert seen == []
