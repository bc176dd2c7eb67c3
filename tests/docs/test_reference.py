"""The reference pages leave nothing out and make nothing up."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lmi_runtime
from lmi_runtime import ConnectionBudget, connection_share, errors
from lmi_runtime.caches.shared import SharedCacheStatistics
from lmi_runtime.context import WorkerFacts, set_worker, worker
from lmi_runtime.emulator import EmulatorOptions, FaultKind
from lmi_runtime.integrations import boto, changes, opentelemetry
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


# ---- integrations


def test_every_utility_that_a_report_names_is_explained() -> None:
    tables = (changes.POWERTOOLS, changes.XRAY, changes.BOTOCORE)
    rows = _table("integrations", "What the report and the log call them:")
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]

    assert sorted(named) == sorted({change.utility for table in tables for change in table})


def _warnings_of_integrations() -> list[str]:
    """What each says, less what is filled in; those that are told by name are constants."""
    return [
        node.value
        for name, tree in package_sources()
        if name.startswith("integrations/")
        for call in ast.walk(tree)
        if isinstance(call, (ast.Call, ast.Assign))
        and (isinstance(call, ast.Assign) or ast.unparse(call.func) == "logger.warning")
        for node in ([call.value] if isinstance(call, ast.Assign) else call.args[:1])
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if isinstance(call, ast.Call) or "%s" in node.value
    ]


def test_every_warning_is_in_the_table_of_what_the_log_says() -> None:
    rows = _table("integrations", "## What the log says")
    said = [text.split("...") for row in rows for text in re.findall(r"`([^`]+)`", row[0])]
    warnings = _warnings_of_integrations()

    assert len(warnings) > 15
    known = [text for text in warnings if any(all(p in text for p in parts) for parts in said)]
    assert [text for text in warnings if text not in known] == []


def test_versions_of_powertools_are_those_that_are_tested() -> None:
    versions = {row[0]: row[1:] for row in _table("integrations", "## Versions")}
    ends = (changes.LOWEST_POWERTOOLS, changes.NEWEST_POWERTOOLS)

    assert versions["Powertools"] == [".".join(map(str, end)) for end in ends]


def test_every_public_name_of_an_integration_is_in_the_table_of_thread_safety() -> None:
    page = _text("thread-safety").split("## Your code")[0]
    names = [*boto.__all__, *opentelemetry.__all__, "make_safe", "off_loop"]

    assert [name for name in names if not re.search(rf"`(?:[\w.]+\.)?{name}`", page)] == []


# ---- pools and caches


def _table(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    lines = _text(page).split(f"\n{heading}\n")[1].splitlines()
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            break
    return rows[2:]


def _named(rows: list[list[str]]) -> list[str]:
    return [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]


def _options_of(function: Callable[..., Any]) -> set[str]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.name != "self"}


def test_every_option_of_a_pool_is_in_its_table() -> None:
    rows = _table("pools", "Options of `Pool`; all times are in seconds:")

    assert sorted(_named(rows)) == sorted(_options_of(lmi_runtime.Pool) - {"connect"})


def test_defaults_of_a_pool_are_those_of_the_table() -> None:
    parameters = inspect.signature(lmi_runtime.Pool).parameters
    rows = _table("pools", "Options of `Pool`; all times are in seconds:")
    numbers = {row[0].strip("`"): row[1] for row in rows if row[1].replace(".", "").isdigit()}

    assert len(numbers) == 8
    assert {n: float(v) for n, v in numbers.items()} == {n: parameters[n].default for n in numbers}


def test_every_option_of_a_cache_is_in_its_table() -> None:
    rows = _table("caches", "## How long a value is good")

    assert sorted(_named(rows)) == sorted(_options_of(lmi_runtime.Cache))


def test_every_statistic_is_explained() -> None:
    pools = _named(_table("pools", "## Statistics"))
    caches = _named(_table("caches", "## Statistics"))
    of_caches = {*_facts_of(lmi_runtime.CacheStatistics), *_facts_of(SharedCacheStatistics)}

    assert sorted(pools) == sorted(_facts_of(lmi_runtime.PoolStatistics))
    assert set(caches) - {"hit_ratio"} == of_caches - {"name"}


def _facts_of(kind: type[Any]) -> list[str]:
    return list(inspect.get_annotations(kind))


@pytest.fixture
def processes() -> Iterator[Callable[[int], None]]:
    """Make this process one of so many of an environment."""
    before = worker()
    yield lambda count: set_worker(WorkerFacts(slots=1, processes=count))
    set_worker(before)


def test_budgets_are_as_large_as_the_table_says(
    processes: Callable[[int], None], tmp_path: Path
) -> None:
    heading = (
        "The size is `max_connections` times `share`, divided by `environments`, rounded down:"
    )
    rows = _table("pools", heading)

    assert len(rows) == 5
    for name, (most, share, environments, *said) in enumerate(rows):
        facts = (int(most), int(environments), float(share))
        budget = ConnectionBudget(
            max_connections=facts[0],
            environments=facts[1],
            share=facts[2],
            name=str(name),
            directory=tmp_path,
        )
        parts = [budget.size]
        for count in (2, 32):
            processes(count)
            parts.append(connection_share(*facts))
        too_few = [facts[0] * facts[2] / facts[1] / count < 1 for count in (1, 2, 32)]

        assert [int(text.rstrip("¹")) for text in said] == parts
        assert [text.endswith("¹") for text in said] == too_few
