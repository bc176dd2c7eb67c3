"""
What one call of an event handler's ``resolve`` knows.

Powertools keeps it in class attributes and in one dictionary for each app, which all requests
share. Here it is a place of its own for each call; outside of calls, it is the request's.
"""

from __future__ import annotations

import copy
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import FrameType
from typing import Any

from lmi_runtime import _sync, context
from lmi_runtime.integrations.helper_threads import carry_where_no_request_is
from lmi_runtime.integrations.scopes import PROCESS, REQUEST, PerContext

__all__ = [
    "AppAttribute",
    "Fact",
    "Resolution",
    "apps_of",
    "note_app",
    "opened",
    "resolution_of",
    "resumed",
    "startup_is_now",
]

_OF_ONE_ROUTE = ("_dependency_cache", "_path", "_request", "_route", "_route_args")
"""What powertools itself puts into an app's context; another event has its own."""

_INCLUDED_BY = "_lmi_runtime_included_by"
"""Where a router keeps the apps that it was included in."""

_AT_STARTUP = "_lmi_runtime_startup_context"
"""Where an app keeps what its module put into its context."""


class Resolution:
    """
    One call of ``resolve``, as long as it runs, and for what it started even longer.

    Thread safety: attributes are set before others see it; the dictionaries are shared by the
    tasks and threads of the call, as they are in powertools.
    """

    __slots__ = ("app", "closed", "facts", "outer", "request", "response", "values")

    def __init__(self, app: Any, outer: Resolution | None, started_with: Any) -> None:
        self.app = app
        self.outer = outer
        self.request = context.peek()
        self.closed = False  # turns True once
        self.facts: dict[str, Any] = {}
        self.values: dict[str, Any] = {"context": started_with, "processed_stack_frames": []}
        # The last one that is known to be nobody else's.
        self.response: object = None


class _Outside:
    """What a request, or whoever else calls ``resolve``, knows before and after it."""

    __slots__ = ("facts", "last", "values")

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        # With the apps: their ids stay theirs.
        self.values: dict[tuple[str, int], tuple[object, Any]] = {}
        self.last: Resolution | None = None


_open: ContextVar[Resolution | None]
_open = ContextVar("lmi_runtime.integrations.resolution", default=None)
_is_carried: ContextVar[bool]
_is_carried = ContextVar("lmi_runtime.integrations.resolution_is_carried", default=False)
_get_open, _peek = _open.get, context.peek  # looked up twenty times a call


def innermost() -> Resolution | None:
    """
    The call that this code serves; a thread that outlives its request serves none.

    Thread safety: from any task or thread.
    """
    resolution = _get_open()
    if resolution is None or resolution.request is not _peek():
        return None
    if resolution.closed and _is_carried.get():
        return None
    return resolution


def carrying() -> Callable[..., Any] | None:
    """
    For threads that are started in a call: what has a function be part of it, while it runs.

    Where there is a request, threads have that, and the call with it.

    Thread safety: from any task or thread.
    """
    resolution = innermost()
    if resolution is None or resolution.request is not None:
        return None

    def part_of_it(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        token, carried_token = _open.set(resolution), _is_carried.set(True)
        try:
            return function(*args, **kwargs)
        finally:
            _open.reset(token)
            _is_carried.reset(carried_token)

    return part_of_it


carry_where_no_request_is(carrying)


def note_app(router: Any, app: Any) -> None:
    """
    Have a router remember an app that it was included in, for as long as the app is there.

    Apps are made in handlers as well, and include routers that stay.

    Thread safety: from any thread.
    """
    apps: dict[int, Any] = vars(router).setdefault(_INCLUDED_BY, {})
    key = id(app)
    apps.pop(key, None)  # the latest is the last
    apps[key] = weakref.ref(app, lambda _: apps.pop(key, None))


def apps_of(router: Any) -> list[Any]:
    """
    The apps that a router was included in, the latest last.

    Thread safety: from any thread.
    """
    apps = vars(router).get(_INCLUDED_BY)
    if not apps:
        return []
    return [app for reference in list(apps.values()) if (app := reference()) is not None]


def _outside() -> _Outside:
    kept: _Outside = REQUEST.holder().keep(_Outside, _Outside)
    return kept


def resolution_of(*apps: object) -> Resolution | None:
    """
    The innermost call of ``resolve`` of any of these apps that this code serves.

    Thread safety: from any task or thread.
    """
    resolution = innermost()
    while resolution is not None:
        for app in apps:
            if resolution.app is app:
                return resolution
        resolution = resolution.outer
    return None


class opened:
    """
    A context manager that gives a call of ``app.resolve`` a place of its own.

    It starts with what was appended to the app's context: by the module, and before it in this
    request. Afterwards there is only what the module appended, and `Fact`s stay what they were.

    Args:
        app: Whose call it is.

    Thread safety: changes the calling context only.
    """

    __slots__ = ("_app", "_outside", "_resolution", "_token")

    def __init__(self, app: Any) -> None:
        self._app = app

    def __enter__(self) -> Resolution:
        outer = innermost()
        self._outside = _outside()
        attribute = getattr(type(self._app), "context", None)
        if outer is None and type(attribute) is AppAttribute:
            started_with = attribute.copied(self._app, self._outside)
        else:
            started_with = copy.copy(self._app.context)
            for name in _OF_ONE_ROUTE:
                started_with.pop(name, None)
        self._resolution = Resolution(self._app, outer, started_with)
        self._token = _open.set(self._resolution)
        return self._resolution

    def __exit__(self, *_: object) -> None:
        self._resolution.closed = True
        try:
            _open.reset(self._token)
        except ValueError:
            # A coroutine that nobody finishes is closed wherever it is collected.
            return
        _left(self._resolution, self._outside)


@contextmanager
def resumed(resolution: Resolution) -> Iterator[None]:
    """Have the block be part of a call that has returned something to await."""
    token = _open.set(resolution)
    resolution.closed = False
    try:
        yield
    finally:
        resolution.closed = True
        with suppress(ValueError):  # closed elsewhere, as above
            _open.reset(token)


def _left(resolution: Resolution, outside: _Outside) -> None:
    app = resolution.app
    if resolution.outer is not None and resolution_of(app) is not None:
        return
    if outside.values:
        for name in ("context", "_state"):
            outside.values.pop((name, id(app)), None)
    if resolution.outer is not None:
        return
    outside.last = resolution
    outside.facts = {}
    if resolution.request is None and _sync.is_main_thread():
        # Without requests, what a handler appends cannot be told from what others start with. So
        # all of it goes, as in powertools; but for what is known to be from the module. Whoever
        # ran the loop may ask for the event, as after `resolve`.
        process: _Outside = PROCESS.keep(_Outside, _Outside)
        process.last, process.facts = resolution, {}
        base = _base(app, "context")
        base.clear()
        base.update(vars(app).get(_AT_STARTUP, {}))


class Fact:
    """
    An attribute that ``resolve`` sets on a class, for all apps and routers.

    In a call it is the call's; set on an instance, it stays with the task or thread that sets it
    and with those it starts, in favour of what is set on the class.

    Args:
        name: The attribute.

    Thread safety: from any task or thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._instances = PerContext(name)
        self._is_on_instances = False  # turns True once

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is not None and (self._is_on_instances or self._name in vars(instance)):
            try:
                return self._instances.__get__(instance, owner)
            except AttributeError:
                pass
        resolution = innermost()
        while resolution is not None:
            if self._name in resolution.facts:
                return resolution.facts[self._name]
            resolution = resolution.outer
        outside = _outside()
        for facts in (outside.facts, outside.last.facts if outside.last is not None else {}):
            if self._name in facts:
                return facts[self._name]
        kind = type(instance).__name__ if instance is not None else getattr(owner, "__name__", "")
        raise AttributeError(
            f"{kind!r} has no {self._name!r} before resolve() was called in this request",
            name=self._name,
            obj=instance,
        )

    def __set__(self, instance: Any, value: object) -> None:
        self._is_on_instances = True
        self._instances.__set__(instance, value)

    def set_for_all(self, value: object) -> None:
        """As setting it on the class."""
        self._facts()[self._name] = value

    def forget(self) -> None:
        """As deleting it from the class."""
        self._facts().pop(self._name, None)
        last = _outside().last
        if last is not None:
            last.facts.pop(self._name, None)

    @staticmethod
    def _facts() -> dict[str, Any]:
        resolution = innermost()
        return _outside().facts if resolution is None else resolution.facts


class AppAttribute:
    """
    An attribute that each app has for itself, in each call of its ``resolve``.

    Outside of calls it is the request's, which starts with what the process has.

    Args:
        name: The attribute.
        fresh: Makes a request's first value of the process's.
        default: The process's value, where there is none.
        stored: The name that it has in instances.
        lasting: Whether it is there after a call as well.

    Thread safety: as in powertools within a call; apart, between calls.
    """

    def __init__(
        self,
        name: str,
        fresh: Callable[[Any], Any],
        *,
        default: Callable[[], Any],
        stored: str | None = None,
        lasting: bool = False,
    ) -> None:
        self._name = name
        self._lasting = lasting
        self._fresh = fresh
        self._default = default
        self._stored = stored or name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        resolution = _get_open()
        if resolution is not None:
            # Most often, and many times a call:
            if (
                resolution.app is instance
                and resolution.request is _peek()
                and not resolution.closed
            ):
                return resolution.values[self._name]
            resolution = resolution_of(instance)
            if resolution is not None:
                return resolution.values[self._name]
        if self._lasting:
            last = _outside().last
            if last is not None and last.app is instance:
                return last.values[self._name]
        if REQUEST.holder() is PROCESS:
            return self._process_value(instance)
        values = _outside().values
        key = (self._name, id(instance))
        kept = values.get(key)
        if kept is None:
            value = self._fresh(self._process_value(instance))
            kept = values.setdefault(key, (instance, value))
        return kept[1]

    def __set__(self, instance: Any, value: object) -> None:
        resolution = resolution_of(instance)
        if resolution is not None:
            resolution.values[self._name] = value
        elif REQUEST.holder() is PROCESS:
            vars(instance)[self._stored] = value
        else:
            _outside().values[self._name, id(instance)] = (instance, value)

    def copied(self, instance: Any, outside: _Outside) -> Any:
        """What `instance` has outside of calls, for one that starts."""
        kept = outside.values.get((self._name, id(instance))) if outside.values else None
        return self._fresh(self._process_value(instance) if kept is None else kept[1])

    def _process_value(self, instance: Any) -> Any:
        values = vars(instance)
        if self._stored not in values:
            values.setdefault(self._stored, self._default())
        return values[self._stored]


def _base(app: Any, name: str) -> Any:
    """What the process has of an app's; `HttpResolverLocal` keeps all of it in one object."""
    state = vars(app).get("_startup_state")
    if state is not None:
        return getattr(state, name)
    return vars(app).setdefault(name, {})


def startup_is_now(app: Any) -> None:
    """
    Have an app's context survive calls where there are no requests, if a module is running.

    To be called after something was appended to it.
    """
    outside_of_all = innermost() is None and REQUEST.holder() is PROCESS
    if outside_of_all and _is_in_module(sys._getframe(2)):
        vars(app)[_AT_STARTUP] = dict(_base(app, "context"))


def _is_in_module(caller: FrameType | None) -> bool:
    if caller is not None and caller.f_code.co_name == "<module>":
        return True
    while caller is not None:
        if caller.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        caller = caller.f_back
    return False
