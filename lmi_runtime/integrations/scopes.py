"""
Where the integrations keep what other libraries keep in one object for the whole process.

What belongs to a request is kept with it. Code that serves no request has places of its own: the
process, for what runs in the main thread outside event loops, as imports do; and for any other
thread or task, its own context. Within a request, one call may have a place of its own as well:
that is a `Scope` which has been opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeVar

from lmi_runtime import _sync, context

__all__ = [
    "PROCESS",
    "REQUEST",
    "Holder",
    "PerContext",
    "PerScope",
    "Scope",
    "holder",
    "is_alone",
]

T = TypeVar("T")


class Holder(Protocol):
    """Keeps things for as long as itself lasts."""

    def keep(self, key: object, factory: Callable[[], Any]) -> Any:
        """What `factory` returned when `key` was first asked for; one thread runs it."""
        ...


class _Place:
    """
    A holder that is no request, or a part of one.

    Thread safety: from any thread. The lock is re-entrant: a factory may ask for other things.
    """

    __slots__ = ("_kept", "_lock", "request")

    def __init__(self, request: context.Request | None = None) -> None:
        self.request = request
        self._lock = _sync.RLock()
        self._kept: dict[object, Any] = {}  # guarded by _lock

    def keep(self, key: object, factory: Callable[[], Any]) -> Any:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = factory()
            return self._kept[key]


PROCESS: Final[Holder] = _Place()
"""Holds what is set where functions are imported: every request starts from it."""

_stray: ContextVar[_Place | None] = ContextVar("lmi_runtime.integrations.stray", default=None)


def holder() -> Holder:
    """
    What keeps the state of the calling task or thread: its request, wherever there is one.

    Thread safety: from any task or thread. Never raises.
    """
    request = context.peek()
    if request is not None:
        return request
    if is_alone():
        return PROCESS
    place = _stray.get()
    if place is None:
        place = _Place()
        _stray.set(place)
    return place


def is_alone() -> bool:
    """
    Whether this is the main thread, outside every event loop.

    There modules are imported, and where requests are served there, it is one after the other.

    Thread safety: from any thread.
    """
    return _sync.is_main_thread() and _sync.current_home() is None


class Scope:
    """
    Calls with state of their own within a request.

    Until it is opened, its state is the request's. Code in the block, and tasks and threads that
    are started there, share one place; other tasks of the request are outside, and open their own.

    Thread safety: from any task or thread.
    """

    def __init__(self, name: str) -> None:
        self._place: ContextVar[_Place | None]
        self._place = ContextVar(f"lmi_runtime.integrations.{name}", default=None)

    def holder(self) -> Holder:
        """The innermost block that is open here, or what `holder` gives."""
        place = self._place.get()
        # A thread that outlives its request, and has none any more, is not in its block either.
        if place is not None and place.request is context.peek():
            return place
        return holder()

    @contextmanager
    def opened(self) -> Iterator[Holder]:
        """Give the block a place of its own."""
        place = _Place(context.peek())
        token = self._place.set(place)
        try:
            yield place
        finally:
            self._place.reset(token)


REQUEST: Final = Scope("request")
"""Never opened: what it holds is the request's."""


class _Cell:
    """The value of one attribute of one object; the object lives as long, so that ids stay its."""

    __slots__ = ("instance", "value")

    def __init__(self, instance: object, value: object) -> None:
        self.instance = instance
        self.value = value


class PerScope:
    """
    An attribute of a class whose instances have a value of their own for each scope.

    Put on a class it also rules instances that are there already: what they carry in their
    `__dict__` stays the value of the process, and is what every scope starts from. All tasks and
    threads of one scope share the value.

    Args:
        name: The attribute.
        fresh: Makes a scope's first value of the process's, such as ``copy`` for a list, or
            ``lambda _: []``.
        scope: Whose state it is.
        default: The process's value for instances that carry none; by default there is none.

    Thread safety: as the library's own attribute, within a scope; apart, between scopes.
    """

    def __init__(
        self,
        name: str,
        fresh: Callable[[Any], Any],
        *,
        scope: Scope = REQUEST,
        default: Callable[[], Any] | None = None,
    ) -> None:
        self._name = name
        self._fresh = fresh
        self._scope = scope
        self._default = default

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        place = self._scope.holder()
        if place is PROCESS:
            return self._base(instance)
        return self._cell(place, instance).value

    def __set__(self, instance: Any, value: object) -> None:
        place = self._scope.holder()
        if place is PROCESS:
            instance.__dict__[self._name] = value
        else:
            key = (self, id(instance))
            place.keep(key, lambda: _Cell(instance, value)).value = value

    def __delete__(self, instance: Any) -> None:
        # A scope cannot go back to having none: it is left with a fresh one.
        if self._scope.holder() is PROCESS:
            self._base(instance)
            del instance.__dict__[self._name]
        else:
            self.__set__(instance, self._fresh(self._base(instance)))

    def _cell(self, place: Holder, instance: Any) -> _Cell:
        made: _Cell = place.keep(
            (self, id(instance)), lambda: _Cell(instance, self._fresh(self._base(instance)))
        )
        return made

    def _base(self, instance: Any) -> Any:
        values: dict[str, Any] = instance.__dict__
        if self._name in values:
            return values[self._name]
        if self._default is None:
            kind = type(instance).__name__
            raise AttributeError(
                f"{kind!r} object has no attribute {self._name!r}", name=self._name, obj=instance
            )
        return values.setdefault(self._name, self._default())


class PerContext:
    """
    Like `PerScope`, but what a task or thread sets stays with it and with those it starts later.

    For values that are replaced and never changed in place. Siblings within a request do not see
    each other's; no value is ever seen by another request.

    Args:
        name: The attribute.

    Thread safety: from any task or thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._values: ContextVar[tuple[object, Mapping[int, _Cell]]]
        self._values = ContextVar(f"lmi_runtime.integrations.{name}", default=(None, _EMPTY))

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        of, cells = self._values.get()
        if cells:
            cell = cells.get(id(instance))
            # The request is part of the value: a context that serves a second one starts anew.
            if cell is not None and of is context.peek():
                return cell.value
        try:
            return instance.__dict__[self._name]
        except KeyError:
            kind = type(instance).__name__
            raise AttributeError(
                f"{kind!r} object has no attribute {self._name!r}", name=self._name, obj=instance
            ) from None

    def __set__(self, instance: Any, value: object) -> None:
        if holder() is PROCESS:
            instance.__dict__[self._name] = value
            return
        request = context.peek()
        of, cells = self._values.get()
        mine = cells if of is request else _EMPTY
        self._values.set((request, {**mine, id(instance): _Cell(instance, value)}))


_EMPTY: Mapping[int, _Cell] = MappingProxyType({})
