"""
Middlewares that are plain functions, around handlers that are awaited.

What ``lambda_handler_decorator`` makes calls its middleware, which calls the handler: of an
``async def`` it gets a coroutine, and does its second half before the handler has begun. Here such
a middleware runs in a thread, where calling the handler waits for it; the handler itself stays on
its event loop. Powertools' own middlewares need no thread: they pass on what is to be awaited.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.integrations.bridge import call_back, in_bridged_thread
from lmi_runtime.integrations.calls import is_async
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools.rerouting import reroute, rerouted
from lmi_runtime.integrations.powertools.validation import validator

__all__ = ["await_handlers", "remake"]

_THEIRS = "aws_lambda_powertools."
_AWAITS_RECORDS = "utilities.batch.decorators.async_batch_processor"
_HANDLES_RECORDS = "utilities.batch.decorators.batch_processor"
"""It handles all records before it calls its handler; they may block, so it gets a thread."""

Around = Callable[..., Awaitable[Any]]
"""Awaited with a handler, its event and context, and the options of the middleware."""


def await_handlers(module: ModuleType, swaps: Swaps) -> None:
    """Change ``middleware_factory.factory``."""
    factory = swaps.function(module, "lambda_handler_decorator", "decorator, trace_execution")
    for used in ("logger", "Tracer", "resolve_truthy_env_var_choice", "os", "constants"):
        swaps.attribute(module, used)
    reroute(swaps, factory, _like_factory, functools.partial(_make_decorator, module))


def _like_factory(decorator: Any = None, trace_execution: Any = None) -> Any:
    return rerouted(decorator, trace_execution)


def _make_decorator(
    module: Any, factory: Callable[..., Any], middleware: Any, trace_execution: Any
) -> Any:
    made = factory(middleware, trace_execution)
    if middleware is None:
        return made
    trace_execution = module.resolve_truthy_env_var_choice(
        env=module.os.getenv(module.constants.MIDDLEWARE_FACTORY_TRACE_ENV, "false"),
        choice=trace_execution,
    )
    return _awaiting_decorator(module, made, middleware, trace_execution)


def _awaiting_decorator(
    module: Any, made: Callable[..., Any], middleware: Callable[..., Any], trace_execution: bool
) -> Callable[..., Any]:
    around = _around(middleware)
    is_awaited = inspect.iscoroutinefunction(middleware)
    awaits_by_itself = is_awaited or _own_name(middleware) == _AWAITS_RECORDS

    @functools.wraps(middleware)
    def final_decorator(func: Any = None, **options: Any) -> Any:
        if func is None:
            return functools.partial(final_decorator, **options)
        # Theirs says first what cannot be decorated.
        plain = made(func, **options)
        if not awaits_by_itself and not is_async(func):
            return plain
        if around is None:
            awaiting = _in_thread(func, functools.partial(made, **options))
        else:
            traced = functools.partial(_traced, module, middleware, trace_execution)
            awaiting = _on_loop(func, functools.partial(around, func), options, traced)
        if is_awaited or inspect.iscoroutinefunction(func):
            return awaiting
        return _either(func, awaiting, plain)

    return final_decorator


def _around(middleware: Callable[..., Any]) -> Around | None:
    """What awaits handlers on the loop in the place of a middleware; None for users' plain ones."""
    if inspect.iscoroutinefunction(middleware):
        return middleware
    name = _own_name(middleware)
    if name in ("", _HANDLES_RECORDS):
        return None
    return functools.partial(_OWN_WAYS.get(name, _passed_on), middleware)


def _own_name(middleware: Callable[..., Any]) -> str:
    """Which of powertools' own it is, as module and name; empty for users'."""
    name = f"{middleware.__module__}.{_name(middleware)}"
    return name.removeprefix(_THEIRS) if name.startswith(_THEIRS) else ""


def _name(middleware: Callable[..., Any]) -> str:
    return str(getattr(middleware, "__qualname__", ""))


async def _passed_on(middleware: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """A middleware whose last step is to call the handler."""
    return await middleware(*arguments, **options)


def remake(module: ModuleType, swaps: Swaps) -> None:
    """
    Change the middlewares of a module that was imported before the factory was changed.

    They may have been imported from there by name: what changes is the code inside of them.
    """
    for found in list(vars(module).values()):
        if isinstance(found, FunctionType) and found.__module__ == module.__name__:
            cells = dict(zip(found.__code__.co_freevars, found.__closure__ or (), strict=True))
            if cells.keys() == {"decorator", "final_decorator", "trace_execution"}:
                _remake(found, cells, swaps)


def _remake(found: FunctionType, cells: dict[str, Any], swaps: Swaps) -> None:
    original = FunctionType(
        found.__code__, found.__globals__, found.__name__, found.__defaults__, found.__closure__
    )
    factory = sys.modules[found.__globals__["__name__"]]
    middleware, trace_execution = (
        cells[name].cell_contents for name in ("decorator", "trace_execution")
    )
    remade = _awaiting_decorator(factory, original, middleware, trace_execution)
    swaps.put(found, "_lmi_runtime_remade", remade)
    swaps.put(found, "__code__", _like_final_decorator().__code__)


def _like_final_decorator() -> Callable[..., Any]:
    # Code can be exchanged where it closes over as many variables; these are theirs.
    decorator = trace_execution = None
    final_decorator: Any = None

    def like(func: Any = None, **kwargs: Any) -> Any:
        _ = decorator, trace_execution
        return final_decorator._lmi_runtime_remade(func, **kwargs)

    return like


async def _async_batch_processor(*arguments: Any, **options: Any) -> Any:
    # Not imported above: middlewares are used by more functions than batches are.
    from lmi_runtime.integrations.powertools.batch_functions import async_batch_processor

    return await async_batch_processor(*arguments, **options)


_OWN_WAYS: dict[str, Around] = {
    _AWAITS_RECORDS: _async_batch_processor,
    "utilities.validation.validator.validator": validator,
}
"""Powertools' own that do more after the handler than return, or await something else as well."""


def _in_thread(func: Callable[..., Any], decorate: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    def handler(event: Any, context: Any, **options: Any) -> Any:
        return call_back(func, event, context, **options)

    decorated = decorate(handler)

    @functools.wraps(func)
    async def wrapper(event: Any, context: Any, **options: Any) -> Any:
        return await in_bridged_thread(decorated, event, context, **options)

    return wrapper


def _on_loop(
    func: Callable[..., Any], around: Around, options: dict[str, Any], traced: Callable[..., Any]
) -> Callable[..., Any]:
    @functools.wraps(func)
    async def wrapper(event: Any, context: Any, **more: Any) -> Any:
        with traced():
            return await around(event, context, **options, **more)

    return wrapper


def _either(
    func: Callable[..., Any], awaiting: Callable[..., Any], plain: Callable[..., Any]
) -> Callable[..., Any]:
    """For functions that may run their coroutine by themselves, where there is no loop."""

    @functools.wraps(func)
    def wrapper(event: Any, context: Any, **options: Any) -> Any:
        chosen = plain if _sync.current_home() is None else awaiting
        return chosen(event, context, **options)

    return wrapper


@contextmanager
def _traced(module: Any, middleware: Callable[..., Any], trace_execution: Any) -> Iterator[None]:
    """As powertools does it around plain middlewares."""
    name = _name(middleware)
    try:
        if trace_execution:
            with module.Tracer(auto_patch=False).provider.in_subsegment(name=f"## {name}"):
                yield
        else:
            yield
    except Exception:
        module.logger.exception(f"Caught exception in {name}")
        raise
