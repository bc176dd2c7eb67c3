"""The reference pages leave nothing out and make nothing up."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import re

import pytest

import lmi_runtime
from lmi_runtime import errors
from lmi_runtime.emulator import EmulatorOptions, FaultKind
from lmi_runtime.model import Mode
from tests.docs.blocks import DOCS
from tests.support.repository import package_sources, pyproject

PAGE = DOCS / "pages"
_VARIABLE = re.compile(
    r"_?(?:AWS_(?:LAMBDA|EXECUTION)|LMI|LAMBDA|LAMBDA_TELEMETRY)_[A-Z_]+|_HANDLER|_X_AMZN_TRACE_ID"
)
# Written by the emulator and by the stress harness, which stand for the platform.
_WRITERS = ("emulator/", "stress/")


def _text(page: str) -> str:
    return (PAGE / f"{page}.md").read_text()


def _variables_read() -> set[str]:
    return {
        node.value
        for name, tree in package_sources()
        if not name.startswith(_WRITERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _VARIABLE.fullmatch(node.value)
    }


def test_every_variable_that_is_read_is_documented_and_no_other() -> None:
    documented = set(re.findall(rf"`({_VARIABLE.pattern})`", _text("configuration")))

    assert documented == _variables_read()


def _error_classes() -> list[type[errors.LmiError]]:
    return [getattr(errors, name) for name in errors.__all__ if name != "LmiError"]


@pytest.mark.parametrize("kind", _error_classes(), ids=lambda kind: kind.__name__)
def test_every_error_is_documented_with_its_type(kind: type[errors.LmiError]) -> None:
    page = _text("errors")

    assert f"`{kind.__name__}`" in page
    if kind.error_type != errors.LmiError.error_type:
        assert f"`{kind.error_type}`" in page


def test_no_error_is_made_up() -> None:
    named = set(re.findall(r"`((?:Runtime|Function)\.[A-Z]\w+)`", _text("errors")))
    sources = "".join(ast.dump(tree) for _, tree in package_sources())
    # Named after an exception of Python's own, or as an example.
    derived = {"Function.SystemExit", "Function.ConfigurationError", "Function.RetryError"}

    assert [name for name in sorted(named - derived) if name not in sources] == []


def _options(command: str) -> list[str]:
    """The long options of a subcommand."""
    commands = argparse.ArgumentParser().add_subparsers()
    importlib.import_module(f"lmi_runtime.cli.{command}").add_to(commands)
    help_text = commands.choices[command].format_help()
    return [name for name in re.findall(r"(?<![\w-])--[a-z]+", help_text) if name != "--help"]


@pytest.mark.parametrize("command", ["run", "invoke", "load", "stress"])
def test_every_option_of_a_command_is_documented(command: str) -> None:
    section = _text("configuration").split(f"| `lmi {command} ")[1].split("\n\n")[0]

    assert _options(command)
    assert [name for name in _options(command) if f"`{name}" not in section] == []


def test_every_public_name_is_in_the_table_of_thread_safety_or_is_an_error() -> None:
    page = _text("thread-safety")
    kinds = {name: getattr(lmi_runtime, name) for name in lmi_runtime.__all__}
    names = [n for n, k in kinds.items() if not (isinstance(k, type) and issubclass(k, Exception))]

    assert [name for name in names if not re.search(rf"`@?{name}\b", page)] == []


def test_every_option_of_the_decorator_is_in_its_table() -> None:
    page = _text("handlers")
    spec = ("max_per_vcpu", "concurrency", "deadline", "deadline_margin_s", "serializer")

    assert [name for name in spec if f"| `{name}` |" not in page] == []


def test_modes_and_faults_are_complete() -> None:
    modes, emulator = _text("modes"), _text("emulator")

    assert [mode.value for mode in Mode if f"| `{mode.value}` |" not in modes] == []
    assert [kind.name for kind in FaultKind if f"| `{kind.name}` |" not in emulator] == []


def test_options_of_the_emulator_exist() -> None:
    section = _text("emulator").split("## Options")[1].split("##")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    fields = {field.name for field in dataclasses.fields(EmulatorOptions)}

    assert named > {"strict"}
    assert named - {"EmulatorOptions"} <= fields


def test_extras_are_those_of_the_package() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", _text("getting-started"), re.MULTILINE))

    assert named
    assert named <= set(pyproject()["project"]["optional-dependencies"])
