"""Versions of powertools that keep their state under other names are left alone, and named."""

from __future__ import annotations

import importlib
import inspect
import re
from types import ModuleType

import pytest

pytest.importorskip("aws_lambda_powertools")

from lmi_runtime.integrations import changes
from lmi_runtime.integrations.patching import Change, Swaps, Unexpected

FIELDS = {
    "logger_keys:make_formatter_safe": ["log_format"],
    "logger_buffer:make_cache_safe": ["cache"],
    "parameter_providers:share_fetches": ["store"],
    "idempotency:isolate_stores": ["function_name"],
    "idempotency:isolate_configs": ["lambda_context"],
    "circuit_breaker:count_what_is_awaited": ["fn_args", "persistence_store"],
    "routing:isolate_resolvers": ["context", "current_event"],
    "bedrock:isolate_functions": ["current_event"],
}
RENAMED = [
    pytest.param(change, name, id=f"{made_by}-{name}")
    for made_by, names in FIELDS.items()
    for change in changes.POWERTOOLS
    if change.made_by.endswith(f".{made_by}")
    for name in names
]


def test_all_of_them() -> None:
    assert len(RENAMED) == sum(map(len, FIELDS.values()))


@pytest.mark.parametrize(("change", "name"), RENAMED)
def test_a_class_whose_state_has_another_name(change: Change, name: str) -> None:
    module = with_fields_renamed(pytest.importorskip(change.module), name)
    room, _, function = change.made_by.partition(":")
    with pytest.raises(Unexpected):
        getattr(importlib.import_module(room), function)(module, Swaps())


def with_fields_renamed(module: ModuleType, name: str) -> ModuleType:
    """The module once more, beside what has been changed; only names of attributes differ."""
    renamed = ModuleType(module.__name__)
    source = re.sub(rf"(?<=[\w)\]]\.){name}\b", f"{name}_of_late", inspect.getsource(module))
    exec(compile(source, str(module.__file__), "exec"), vars(renamed))
    return renamed
