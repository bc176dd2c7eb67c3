"""Keys of powertools' log lines: each request's own, on top of the process's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from lmi_runtime import context
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.scopes import PROCESS, PerContext, holder
from lmi_runtime.integrations.trace_header import VARIABLE

__all__ = ["for_everybody", "is_for_everybody", "make_formatter_safe", "tracer_id"]

KEYS = "log_format"
"""The attribute of powertools' formatter: every key, in the order of the line."""

_for_everybody: ContextVar[bool] = ContextVar("lmi_runtime.integrations.everybody", default=False)


@contextmanager
def for_everybody() -> Iterator[None]:
    """
    Have keys that are set in the block be the process's, wherever it runs.

    For what sets a logger up: one that is made within a request serves the others as well.

    Thread safety: changes the calling context only.
    """
    token = _for_everybody.set(True)
    try:
        yield
    finally:
        _for_everybody.reset(token)


def is_for_everybody() -> bool:
    """Whether this is within `for_everybody`."""
    return _for_everybody.get()


def tracer_id() -> str | None:
    """
    The X-Ray trace that lines belong to: the request's, or outside requests the process's.

    Thread safety: from any task or thread.
    """
    request = context.peek()
    # Not asked of the environment within requests: for every line that is a third of our costs.
    header = os.environ.get(VARIABLE) if request is None else request.invocation.trace_id
    if not header:
        return None
    parts = header.split(";")
    root = parts[0]
    if not root.startswith("Root="):
        root = next((part for part in parts if part.startswith("Root=")), root)
    return root.removeprefix("Root=")


def make_formatter_safe(module: ModuleType, swaps: Swaps) -> None:
    """
    Change ``logging.formatter``.

    Raises:
        Unexpected: It is not what this was written for.
    """
    formatter = module.LambdaPowertoolsFormatter
    made = swaps.function(formatter, "__init__", "self")
    swaps.fields(formatter, KEYS)
    swaps.function(formatter, "append_keys", "self, **additional_keys")
    swaps.function(formatter, "get_current_keys", "self")
    swaps.function(formatter, "remove_keys", "self, keys")
    swaps.function(formatter, "clear_state", "self")
    swaps.function(formatter, "append_context_keys", "self, **additional_keys")
    swaps.function(formatter, "thread_safe_get_current_keys", "self")
    swaps.function(formatter, "_extract_log_keys", "self, log_record")
    swaps.function(formatter, "_get_latest_trace_id", "self")
    swaps.function(module, "_get_context", "")
    swaps.function(module, "set_context_keys", "**kwargs")
    swaps.function(module, "remove_context_keys", "keys")
    swaps.function(module, "clear_context_keys", "")
    local = LocalKeys(module._get_context().get())

    swaps.put(formatter, KEYS, FormatterKeys(KEYS))
    swaps.put(formatter, "__init__", _made_for_everybody(made))
    swaps.put(formatter, "append_keys", append_keys)
    swaps.put(formatter, "get_current_keys", get_current_keys)
    swaps.put(formatter, "remove_keys", remove_keys)
    swaps.put(formatter, "append_context_keys", append_context_keys)
    swaps.put(formatter, "thread_safe_get_current_keys", lambda _: dict(local.get()))
    swaps.put(formatter, "_get_latest_trace_id", _get_latest_trace_id)
    swaps.put(module, "_get_context", lambda: local)
    swaps.put(module, "remove_context_keys", local.remove)


class FormatterKeys(PerContext):
    """
    All keys of a formatter, as a dictionary of which each request has one.

    Our methods put a new one in its place for every change. Those of a user's subclass may change
    the one that they find: it is never the process's.

    Thread safety: from any task or thread.
    """

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        if _for_everybody.get():
            return _process_keys(instance)
        # As of `PerContext`, but not by a call of it: every line asks twice.
        of, cells = self._values.get()
        cell = cells.get(id(instance))
        if cell is not None and of is context.peek():
            return cell.value
        keys = _process_keys(instance)
        if holder() is not PROCESS:
            keys = dict(keys)
            super().__set__(instance, keys)
        return keys

    def __set__(self, instance: Any, value: object) -> None:
        if _for_everybody.get() or KEYS not in instance.__dict__:
            instance.__dict__[KEYS] = value
        else:
            super().__set__(instance, value)


def _process_keys(instance: Any) -> Any:
    try:
        return instance.__dict__[KEYS]
    except KeyError:
        text = f"{type(instance).__name__!r} object has no attribute {KEYS!r}"
        raise AttributeError(text, name=KEYS, obj=instance) from None


class LocalKeys:
    """
    In place of the context variable behind the ``thread_safe_`` methods, which outlives requests.

    Args:
        base: What has been set so far, as the function was imported.

    Thread safety: from any task or thread. Its dictionaries are replaced and never changed.
    """

    def __init__(self, base: Mapping[str, Any]) -> None:
        self._base = dict(base)
        self._values: ContextVar[tuple[object, dict[str, Any]] | None]
        self._values = ContextVar("lmi_runtime.integrations.local_keys", default=None)

    def get(self) -> dict[str, Any]:
        """The keys of the calling task or thread."""
        mine = self._values.get()
        if mine is not None and mine[0] is context.peek():
            return mine[1]
        return self._base

    def set(self, value: dict[str, Any]) -> None:
        """Replace them."""
        if holder() is PROCESS:
            self._base = value
        else:
            self._values.set((context.peek(), value))

    def remove(self, keys: Iterable[str]) -> None:
        """Replace them by others without `keys`."""
        self.set(_without(self.get(), keys))


def append_keys(self: Any, **additional_keys: Any) -> None:
    """Add keys to the lines of the calling request, or change them."""
    self.log_format = {**self.log_format, **additional_keys}


def get_current_keys(self: Any) -> dict[str, Any]:
    """The keys of the calling request; a copy, so that changing it changes no line."""
    return dict(self.log_format)


def remove_keys(self: Any, keys: Iterable[str]) -> None:
    """Remove keys from the lines of the calling request; none of them has to be there."""
    self.log_format = _without(self.log_format, keys)


@contextmanager
def append_context_keys(self: Any, **additional_keys: Any) -> Iterator[None]:
    """
    Add keys to the lines that are written in the block.

    What was there before is there again afterwards, also under the same names.
    """
    now = self.log_format
    before = {key: now[key] for key in additional_keys if key in now}
    self.append_keys(**additional_keys)
    try:
        yield
    finally:
        self.remove_keys([key for key in additional_keys if key not in before])
        self.log_format = {**self.log_format, **before}


def _without(keys: Mapping[str, Any], removed: Iterable[str]) -> dict[str, Any]:
    removed = set(removed)
    return {key: value for key, value in keys.items() if key not in removed}


def _get_latest_trace_id(self: Any) -> str | None:
    # None is how users say that they want no such key.
    if self.log_format.get("xray_trace_id", "") is None:
        return None
    return tracer_id()


def _made_for_everybody(make: Callable[..., None]) -> Callable[..., None]:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        with for_everybody():
            make(self, *args, **kwargs)

    # Powertools, and whoever else asks, still sees which parameters there are.
    __init__.__wrapped__ = make  # type: ignore[attr-defined]
    __init__.__doc__ = make.__doc__
    return __init__
