"""
Where the X-Ray SDK's contexts keep which segment and subsegments are open.

The SDK's own place is a thread's, or a task's. This one is inherited: a task or thread that is
started with a copy of the context goes on where its starter was, and opens and ends subsegments
without anybody else noticing. What is kept is never changed, only replaced.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, MutableSequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from lmi_runtime import context
from lmi_runtime.context import Request

__all__ = ["Apart", "Entities", "Local", "LocalAttribute", "adopt", "local_of"]

logger = logging.getLogger("lmi_runtime.integrations")

_KEPT = "_lmi_local"
_ENTITIES = "entities"
_BEGINNINGS = frozenset({"entities", "segment"})
"""To set them is to begin a trace."""


class _Frame:
    """
    Never changes.

    Attributes:
        request: In which it was begun; None: outside requests, and for all that are served below.
        values: What the SDK set; the open entities as a tuple. Never changed.
        settled_for: The request whose trace the segment is known to be of.
    """

    __slots__ = ("request", "settled_for", "values")

    def __init__(
        self,
        request: Request | None,
        values: Mapping[str, Any],
        settled_for: Request | None = None,
    ) -> None:
        self.request = request
        self.values = values
        self.settled_for = settled_for

    def changed(self, name: str, value: object) -> _Frame:
        return _Frame(self.request, {**self.values, name: value}, self.settled_for)


class Local:
    """
    Stands in for the ``threading.local`` of an SDK context.

    Its attributes are what the SDK sets; `entities` reads as a list that can be changed.

    Thread safety: from any task or thread; each sees its own.
    """

    __slots__ = ("_variable",)

    _variable: ContextVar[_Frame | None]

    def __init__(self) -> None:
        variable = ContextVar[_Frame | None]("lmi_runtime.integrations.xray", default=None)
        object.__setattr__(self, "_variable", variable)

    def __getattr__(self, name: str) -> Any:
        frame = self._visible()
        if frame is None or name not in frame.values:
            raise AttributeError(f"nothing is kept as {name!r} here", name=name, obj=self)
        return Entities(self) if name == _ENTITIES else frame.values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        frame = self._visible() or _Frame(context.peek(), _NOTHING)
        if name == _ENTITIES:
            value = tuple(value)
        if name in _BEGINNINGS:
            frame = _Frame(context.peek(), frame.values)  # and not settled
        self._variable.set(frame.changed(name, value))

    def replace(self, entities: Iterable[Any]) -> None:
        """Change what is open, in the trace that has been begun."""
        frame = self._visible() or _Frame(context.peek(), _NOTHING)
        self._variable.set(frame.changed(_ENTITIES, tuple(entities)))

    def stack(self) -> tuple[Any, ...]:
        """The open entities, the innermost last."""
        frame = self._visible()
        return () if frame is None else frame.values.get(_ENTITIES, ())

    def is_begun_in(self, request: Request) -> bool:
        """Whether what is kept here was begun in it, and not around it."""
        frame = self._visible()
        return frame is not None and frame.request is request

    def settled(self, request: Request) -> Any:
        """The innermost entity, where `settle` has been called for the request; else None."""
        frame = self._variable.get()
        if frame is None or frame.settled_for is not request:
            return None
        entities = frame.values.get(_ENTITIES)
        return entities[-1] if entities else frame.values["segment"]

    def settle(self, request: Request) -> None:
        """Note that what is kept here is of the request's trace, until another one is begun."""
        frame = self._visible()
        if frame is not None:
            self._variable.set(_Frame(frame.request, frame.values, request))

    def clear(self) -> None:
        """Keep nothing here; others keep what they have."""
        self._variable.set(None)

    def _visible(self) -> _Frame | None:
        frame = self._variable.get()
        # A context may come to serve another request: the former one's trace is not for that.
        if frame is None or frame.request is None or frame.request is context.peek():
            return frame
        return None


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Entities(MutableSequence[Any]):
    """What is open in the calling task or thread, to be read and changed like a list."""

    def __init__(self, local: Local) -> None:
        self._local = local

    def __getitem__(self, index: Any) -> Any:
        return self._local.stack()[index]

    def __len__(self) -> int:
        return len(self._local.stack())

    def __setitem__(self, index: Any, value: Any) -> None:
        entities = list(self._local.stack())
        entities[index] = value
        self._local.replace(entities)

    def __delitem__(self, index: Any) -> None:
        entities = list(self._local.stack())
        del entities[index]
        self._local.replace(entities)

    def insert(self, index: int, value: Any) -> None:
        entities = list(self._local.stack())
        entities.insert(index, value)
        self._local.replace(entities)


class Apart:
    """
    What a generator has open: its own while it runs, and not its consumer's while it waits.

    Enter it around each step.

    Thread safety: one step at a time, as generators are; in any task or thread.
    """

    def __init__(self, local: Local) -> None:
        self._variable = local._variable
        self._inside: _Frame | None = self._variable.get()
        self._outside: _Frame | None = None

    def __enter__(self) -> None:
        self._outside = self._variable.get()
        self._variable.set(self._inside)

    def __exit__(self, *_: object) -> None:
        self._inside = self._variable.get()
        self._variable.set(self._outside)


class LocalAttribute:
    """
    ``_local`` of all contexts, those that exist already as well.

    What the SDK's own classes assign is not needed any more. What another class brings along
    stays; it is told of, as nothing is known about it.
    """

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        kept: dict[str, Any] = vars(instance)
        return kept.get(_KEPT) or kept.setdefault(_KEPT, Local())

    def __set__(self, instance: Any, value: object) -> None:
        kind = type(value)
        if (kind.__module__, kind.__name__) in _THEIRS:
            return
        vars(instance)[_KEPT] = value
        logger.warning(
            "X-Ray: %s keeps what is open in a %s of its own, which may not know requests apart; "
            "derive it from aws_xray_sdk's Context and leave `_local` alone.",
            type(instance).__qualname__,
            kind.__qualname__,
        )


_THEIRS = frozenset(
    {
        ("_thread", "_local"),
        ("_threading_local", "local"),
        ("aws_xray_sdk.core.async_context", "TaskLocalStorage"),
    }
)


def local_of(recorder: Any) -> Local | None:
    """Where a recorder keeps what is open in this task or thread; None where others keep it."""
    local = getattr(getattr(recorder, "context", None), "_local", None)
    return local if isinstance(local, Local) else None


def adopt(former: Any, latter: Any) -> None:
    """
    Have a context go on with what is open in another one, which it takes the place of.

    Requests that are being served have begun with the former and end with the latter.
    """
    mine = former._local
    if isinstance(mine, Local):
        vars(latter).setdefault(_KEPT, mine)
