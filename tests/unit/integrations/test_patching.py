"""Changes to other people's classes: all of one or nothing."""

from __future__ import annotations

import functools
import importlib
import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lmi_runtime.integrations.patching import Change, Patcher, Swaps, Unexpected

THERE = "integrations_test_library"
OURS = "integrations_test_changes"


class Thing:
    def act(self, event: object, *rest: object, key: object = None, **more: object) -> str:
        return "plain"

    @classmethod
    def made(cls, event: object) -> str:
        return "plain"

    number = 3


class Keeper:
    def __init__(self) -> None:
        self.kept: list[int] = []

    def sort(self: Any) -> None:
        sorted(self.kept, key=lambda _: self.nested)

    @property
    def shown(self: Any) -> object:
        return self.behind

    @classmethod
    def made(cls: Any) -> object:
        return cls.of_class

    @functools.cache  # noqa: B019
    def wrapped(self: Any) -> object:
        return self.inside


class Heir(Keeper):
    pass


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of somebody else's; not imported until a test puts it into `sys.modules`."""
    module = ModuleType(THERE)
    module.Thing = type("Thing", (Thing,), dict(vars(Thing)))  # type: ignore[attr-defined]
    return module


def changing(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> None:
    module = ModuleType(OURS)
    vars(module).update(functions)
    monkeypatch.setitem(sys.modules, OURS, module)


def change(utility: str, function: str) -> Change:
    return Change(utility, THERE, f"{OURS}:{function}")


class TestSwaps:
    @pytest.mark.parametrize(
        "parameters", ["", "self", "self, event", "self, event, *rest, key, **more", "event, key"]
    )
    def test_a_function_that_takes_at_least_these_is_as_expected(self, parameters: str) -> None:
        assert Swaps().function(Thing, "act", parameters) is vars(Thing)["act"]

    @pytest.mark.parametrize(
        "parameters", ["self, other", "event, self", "self, *event", "self, more", "*rest, event"]
    )
    def test_a_function_that_takes_others_is_not(self, parameters: str) -> None:
        with pytest.raises(Unexpected, match=r"Thing.act takes \(self, event, \*rest, key, \*\*mo"):
            Swaps().function(Thing, "act", parameters)

    def test_what_lies_in_a_decorator_counts(self) -> None:
        class Decorated:
            @functools.wraps(Thing.act)
            def act(self, *args: object, **kwargs: object) -> object:
                return None

            partly = functools.partial(print, sep="")

        assert Swaps().function(Decorated, "act", "self, event, *rest, key, **more")
        assert Swaps().function(Decorated, "partly", "*args, sep")

    def test_a_class_method_is_looked_into(self) -> None:
        assert Swaps().function(Thing, "made", "cls, event")

    def test_what_is_not_there_is_named(self) -> None:
        with pytest.raises(Unexpected, match=r"Thing\.gone is not there"):
            Swaps().function(Thing, "gone", "")
        with pytest.raises(Unexpected, match=r"Thing\.number is no function"):
            Swaps().function(Thing, "number", "")

    @pytest.mark.parametrize("kind", [Keeper, Heir])
    def test_fields_are_what_the_code_of_a_class_names(self, kind: type) -> None:
        Swaps().fields(kind, "kept", "nested", "behind", "shown", "of_class", "inside")

    def test_a_field_that_no_code_names_is_not_there(self) -> None:
        with pytest.raises(Unexpected, match="Heir has no gone"):
            Swaps().fields(Heir, "kept", "gone")


class TestPatcher:
    def test_a_change_is_made_when_its_module_is_there(
        self, library: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def make(module: Any, swaps: Swaps) -> None:
            swaps.function(module.Thing, "act", "self, event")
            swaps.put(module.Thing, "act", lambda self, event: "changed")

        changing(monkeypatch, make=make)
        patcher = Patcher("The library")
        patcher.arm([change("Acting", "make")])
        assert patcher.report().waiting == ("Acting",)

        monkeypatch.setitem(sys.modules, THERE, library)
        again = Patcher("The library")
        again.arm([change("Acting", "make")])
        assert again.report().patched == ("Acting",)
        assert library.Thing().act(None) == "changed"

    def test_what_does_not_fit_leaves_everything_and_is_named_once(
        self,
        library: ModuleType,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def make(module: Any, swaps: Swaps) -> None:
            swaps.put(module.Thing, "act", lambda self, event: "changed")
            swaps.function(module.Thing, "made", "cls, other")

        def fail(module: Any, swaps: Swaps) -> None:
            raise ZeroDivisionError("oops")

        def fine(module: Any, swaps: Swaps) -> None:
            swaps.put(module.Thing, "number", 4)

        changing(monkeypatch, make=make, fail=fail, fine=fine)
        monkeypatch.setitem(sys.modules, THERE, library)
        patcher = Patcher("The library")
        changes = [change("Acting", "make"), change("Failing", "fail"), change("Fine", "fine")]
        patcher.arm(changes)
        patcher.arm(changes)

        assert library.Thing().act(None) == "plain"
        assert library.Thing.number == 4
        report = patcher.report()
        assert report.patched == ("Fine",)
        assert set(report.not_patched) == {"Acting", "Failing"}
        lines = [record for record in caplog.records if record.name == "lmi_runtime.integrations"]
        assert [record.levelno for record in lines] == [logging.WARNING] * 2
        assert lines[0].getMessage() == (
            "The library: Acting is not isolated between requests: Thing.made takes (cls, event)."
        )
        assert "ZeroDivisionError: oops" in lines[1].getMessage()

    def test_a_utility_of_several_changes_counts_when_all_are_made(
        self, library: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        changing(monkeypatch, fine=lambda module, swaps: None)
        monkeypatch.setitem(sys.modules, THERE, library)
        patcher = Patcher("The library")
        later = Change("Acting", f"{THERE}.later", f"{OURS}:fine")
        patcher.arm([change("Acting", "fine"), later])
        assert patcher.report().patched == ()

    def test_a_module_that_is_reloaded_is_changed_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = f"reloaded_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text("class Thing:\n    number = 3\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        changing(monkeypatch, make=lambda module, swaps: swaps.put(module.Thing, "number", 4))
        Patcher("The library").arm([Change("Acting", name, f"{OURS}:make")])

        module = importlib.import_module(name)
        assert module.Thing.number == 4
        assert importlib.reload(module).Thing.number == 4
        del sys.modules[name]

    def test_a_descriptor_learns_its_name(
        self, library: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Descriptor:
            def __set_name__(self, owner: type, name: str) -> None:
                self.name = (owner, name)

        changing(monkeypatch, make=lambda module, swaps: swaps.put(module.Thing, "x", Descriptor()))
        monkeypatch.setitem(sys.modules, THERE, library)
        Patcher("The library").arm([change("X", "make")])
        assert library.Thing.x.name == (library.Thing, "x")
