"""Versions of powertools that look different are left alone, and named."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

pytest.importorskip("aws_lambda_powertools")

from lmi_runtime.integrations import changes
from lmi_runtime.integrations.patching import Change, Swaps, Unexpected

UTILITIES = {"Circuit breaker", "Feature flags", "Idempotency", "Parameters"}
CHANGES = [change for change in changes.POWERTOOLS if change.utility in UTILITIES]
OF_FUNCTIONS = [
    change for change in CHANGES if not change.made_by.endswith("share_default_providers")
]


def planned(change: Change, module: ModuleType) -> Swaps:
    room, _, name = change.made_by.partition(":")
    swaps = Swaps()
    getattr(importlib.import_module(room), name)(module, swaps)
    return swaps


def imported(change: Change) -> ModuleType:
    return pytest.importorskip(change.module)


def test_all_of_them() -> None:
    assert {change.utility for change in CHANGES} == UTILITIES


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.made_by)
def test_a_module_without_what_it_relies_on(change: Change) -> None:
    with pytest.raises(Unexpected, match="is not there"):
        planned(change, ModuleType(change.module))


@pytest.mark.parametrize("change", OF_FUNCTIONS, ids=lambda change: change.made_by)
def test_classes_whose_methods_take_something_else(change: Change) -> None:
    """All functions of the classes take nothing any more: none of it is changed."""
    module = imported(change)
    changed = ModuleType(module.__name__)
    for name, value in vars(module).items():
        if name.startswith("__") or name == "DEFAULT_PROVIDERS":
            continue
        is_its_own = getattr(value, "__module__", None) == module.__name__
        setattr(changed, name, _emptied(value) if is_its_own else value)
    with pytest.raises(Unexpected):
        planned(change, changed)


def _emptied(value: object) -> object:
    if not isinstance(value, type):
        return lambda: None
    names = [name for name in vars(value) if not name.startswith("__")]
    return type(value.__name__, (), {name: lambda: None for name in ["__init__", *names]})
