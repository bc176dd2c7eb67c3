"""
Segments and subsegments that the tasks and threads of a request share.

The SDK looks whether an entity has ended and then changes it, in two steps: between the two,
another thread may end it and be writing it out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from aws_xray_sdk.core.models.entity import Entity  # type: ignore[import-untyped]
from aws_xray_sdk.core.models.segment import Segment  # type: ignore[import-untyped]
from aws_xray_sdk.core.models.subsegment import Subsegment  # type: ignore[import-untyped]

from lmi_runtime import _sync
from lmi_runtime.integrations.patching import Swaps

__all__ = ["change_one_at_a_time"]

_lock = _sync.ProcessWide(lambda: _sync.RLock(), anew_in_child=True)
"""Of all entities: they are changed within microseconds."""

_CHANGES = {
    "add_exception": "self, exception, stack, remote",
    "apply_status_code": "self, status_code",
    "put_annotation": "self, key, value",
    "put_http_meta": "self, key, value",
    "put_metadata": "self, key, value, namespace",
    "set_aws": "self, aws_meta",
}


def change_one_at_a_time(swaps: Swaps) -> None:
    """An entity that has ended is not changed any more, nor does it get another child."""
    changed: dict[tuple[Any, str], Callable[..., Any]] = {
        (Entity, name): swaps.function(Entity, name, parameters)
        for name, parameters in _CHANGES.items()
    }
    for owner in (Entity, Segment, Subsegment):
        changed[owner, "add_subsegment"] = swaps.function(
            owner, "add_subsegment", "self, subsegment"
        )
    for owner in (Entity, Subsegment):
        changed[owner, "close"] = swaps.function(owner, "close", "self, end_time")
    recorded = _recorded_once_in_each_trace(changed[Entity, "add_exception"])
    changed[Entity, "add_exception"] = recorded
    for (owner, name), function in changed.items():
        swaps.put(owner, name, _locked(function))


def _locked(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def locked(*args: Any, **kwargs: Any) -> Any:
        with _lock():
            return function(*args, **kwargs)

    return locked


def _recorded_once_in_each_trace(add: Callable[..., None]) -> Callable[..., None]:
    """An exception that several requests get is written out once in each of their traces."""

    @functools.wraps(add)
    def add_exception(self: Any, exception: Any, *args: Any, **kwargs: Any) -> None:
        recorded_in = getattr(exception, _RECORDED_IN, self.trace_id)
        if recorded_in != self.trace_id and hasattr(exception, "_recorded"):
            del exception._recorded
        add(self, exception, *args, **kwargs)
        if hasattr(exception, "_recorded"):
            setattr(exception, _RECORDED_IN, self.trace_id)

    return add_exception


_RECORDED_IN = "_lmi_recorded_in"
