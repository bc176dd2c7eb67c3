"""What the event handlers for AppSync and Bedrock functions have in common."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from types import ModuleType
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.resolution import (
    AppAttribute,
    Fact,
    apps_of,
    note_app,
    opened,
    resolution_of,
    resumed,
    startup_is_now,
)
from lmi_runtime.integrations.powertools.routing import setting_facts

__all__ = [
    "AppFact",
    "LoopAware",
    "SharedContext",
    "including_apart",
    "isolate_app",
    "isolate_context",
    "resolving_apart",
]

_MISSING: Any = object()


class AppFact(Fact):
    """
    A `Fact` that ``resolve`` sets on its app as well.

    There it belongs to the call too, so that the app knows its own event again after a call
    within the call.

    Args:
        name: The attribute.
        default: What it is before any call; by default it is not there.

    Thread safety: from any task or thread.
    """

    def __init__(self, name: str, default: Any = _MISSING) -> None:
        super().__init__(name)
        self._of_call = name
        self._default = default

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        resolution = None if instance is None else resolution_of(instance)
        if resolution is not None and self._of_call in resolution.facts:
            return resolution.facts[self._of_call]
        try:
            return super().__get__(instance, owner)
        except AttributeError:
            if self._default is _MISSING:
                raise
            return self._default

    def __set__(self, instance: Any, value: object) -> None:
        resolution = resolution_of(instance)
        if resolution is not None:
            resolution.facts[self._of_call] = value
        elif value is not self._default:
            super().__set__(instance, value)


class SharedContext(AppAttribute):
    """
    The context of an app, which is that of its routers as well.

    Thread safety: as in powertools within a call; apart, between calls.
    """

    def __init__(self) -> None:
        super().__init__("context", dict, default=dict)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        apps = _apps(instance)
        resolution = resolution_of(*apps)
        if resolution is not None:
            return resolution.values["context"]
        return super().__get__(apps[-1], owner)

    def __set__(self, instance: Any, value: object) -> None:
        apps = _apps(instance)
        resolution = resolution_of(*apps)
        if resolution is not None:
            resolution.values["context"] = value
        else:
            super().__set__(apps[-1], value)


def _apps(instance: Any) -> tuple[Any, ...]:
    """Whose context an app or router has: its own, or that of the apps it is included in."""
    return (instance, *apps_of(instance))


def isolate_context(owner: type, swaps: Swaps) -> None:
    """Have what apps of this class append to their context be each call's own."""
    append = swaps.function(owner, "append_context", "self, **additional_context")
    clear = swaps.function(owner, "clear_context", "self")
    swaps.put(owner, "context", SharedContext())
    swaps.put(owner, "append_context", _appending(append))
    swaps.put(owner, "clear_context", _clearing(clear))


def _appending(append: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(append)
    def append_context(self: Any, **additional_context: Any) -> None:
        append(self, **additional_context)
        startup_is_now(_apps(self)[-1])

    return append_context


def _clearing(clear: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(clear)
    def clear_context(self: Any) -> None:
        resolution = resolution_of(*_apps(self))
        if resolution is None:
            clear(self)
        else:
            # Another one: what is awaited later still has use for this.
            resolution.values["context"] = {}

    return clear_context


def including_apart(include: Callable[..., Any]) -> Callable[..., Any]:
    """Have routers remember the apps that they are included in."""

    @functools.wraps(include)
    def include_router(self: Any, router: Any) -> Any:
        result = include(self, router)
        note_app(router, self)
        startup_is_now(self)
        return result

    return include_router


Failed = Callable[[Any, Exception], Any]


def isolate_app(
    module: ModuleType,
    swaps: Swaps,
    app: type,
    facts: Mapping[str, AppFact],
    resolve: Callable[..., Any],
) -> None:
    """
    Isolate an event handler that shares what it knows with its module's `Router`.

    Args:
        module: Theirs. What it runs with `asyncio` is handed back where a loop runs.
        swaps: Collects what is replaced.
        app: Its resolver.
        facts: What ``resolve`` sets on the class of all routers, by name.
        resolve: What replaces the resolver's own.
    """
    router = module.Router
    include = swaps.function(app, "include_router", "self, router")
    swaps.attribute(module, "asyncio")
    isolate_context(router, swaps)
    swaps.fields(app, "context", *facts)
    for name, fact in facts.items():
        swaps.put(router, name, fact)
    swaps.put(app, "resolve", resolve)
    swaps.put(app, "include_router", including_apart(include))
    swaps.put(module, "asyncio", LoopAware())
    swaps.put(router, "__class__", setting_facts(type(router), dict(facts)))


def resolving_apart(
    resolve: Callable[..., Any], failed: Failed | None = None
) -> Callable[..., Any]:
    """
    Give each call of ``resolve`` a place of its own, for as long as what it returns is awaited.

    Args:
        resolve: Theirs.
        failed: What becomes of errors that are raised when the result is awaited; raises them
            again where there is nothing to be done.
    """

    @functools.wraps(resolve)
    def resolve_apart(self: Any, *args: Any, **kwargs: Any) -> Any:
        with opened(self) as resolution:
            started_with = resolution.values["context"]
            result = resolve(self, *args, **kwargs)
            if not inspect.iscoroutine(result):
                return result
            resolution.values["context"] = started_with

        async def awaited() -> Any:
            with resumed(resolution):
                try:
                    return await result
                except Exception as error:
                    if failed is None:
                        raise
                    return await _maybe(failed(self, error))

        return awaited()

    return resolve_apart


async def _maybe(value: Any) -> Any:
    return await value if isinstance(value, Awaitable) else value


class LoopAware:
    """
    Stands for `asyncio` in modules that call ``asyncio.run`` from within event loops.

    Thread safety: from any thread.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    def run(main: Any, **options: Any) -> Any:
        """Run `main`; where a loop runs, hand it back to be awaited there."""
        return asyncio.run(main, **options) if _sync.current_home() is None else main
