"""
Tracer: a subsegment lasts as long as what it was made for, and holds what that put into it.

Powertools ends a handler's subsegment when the function returns, which an ``async def`` does
before it begins. What a captured generator opens stays open, for its consumer, while it waits.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from types import ModuleType
from typing import Any

from lmi_runtime import _sync
from lmi_runtime._facts import Facts
from lmi_runtime.integrations.calls import is_async, request_for
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.xray.storage import Apart, local_of

__all__ = ["isolate_tracers"]

Function = Callable[..., Any]

_cold_start_lock = _sync.ProcessWide(lambda: _sync.Lock(), anew_in_child=True)


def isolate_tracers(module: ModuleType, swaps: Swaps) -> None:
    """Change `Tracer`, those that exist already as well."""
    kind = swaps.attribute(module, "Tracer")
    captured = "capture_response, capture_error"
    handler = swaps.function(kind, "capture_lambda_handler", f"self, lambda_handler, {captured}")
    method = swaps.function(kind, "capture_method", f"self, method, {captured}")
    generator = swaps.function(
        kind, "_decorate_generator_function", f"self, method, {captured}, method_name"
    )
    swaps.function(kind, "_add_response_as_metadata", "self, method_name, data, subsegment")
    swaps.function(kind, "_add_full_exception_as_metadata", "self, method_name, error, subsegment")
    init = swaps.function(kind, "__init__", "self, service, provider")
    is_cold_start = swaps.function(module, "_is_cold_start", "")
    swaps.function(module, "resolve_env_var_choice", "env, choice")
    swaps.function(module, "resolve_truthy_env_var_choice", "env, choice")
    swaps.function(module, "sanitize_xray_segment_name", "")
    for name in ("constants", "logger"):
        swaps.attribute(module, name)

    swaps.put(module, "_is_cold_start", _told_once(is_cold_start))
    swaps.put(kind, "__init__", _as_asked(module, init))
    swaps.put(kind, "capture_lambda_handler", _capture_lambda_handler(module, handler))
    swaps.put(kind, "capture_method", _capture_method(module, method))
    swaps.put(kind, "_decorate_generator_function", _resumed_apart(generator))


def _told_once(is_cold_start: Callable[[], bool]) -> Callable[[], bool]:
    @functools.wraps(is_cold_start)
    def locked() -> bool:
        with _cold_start_lock():
            return is_cold_start()

    return locked


def _as_asked(module: Any, init: Function) -> Function:
    """All tracers share a configuration, where one finds what another was asked for."""

    @functools.wraps(init)
    def __init__(self: Any, service: str | None = None, *args: Any, **kwargs: Any) -> None:
        init(self, service, *args, **kwargs)
        asked = module.resolve_env_var_choice(
            env=os.getenv(module.constants.SERVICE_NAME_ENV), choice=service
        )
        self.service = asked or self.service
        self.provider = kwargs.get("provider") or self.provider

    return __init__


class _Capture(Facts, kw_only=False):
    """What is captured of the calls of a function."""

    module: Any
    tracer: Any
    name: str
    response: bool
    error: bool
    is_handler: bool = False

    @property
    def title(self) -> str:
        """What its subsegments are called."""
        return f"## {self.name}"

    def part(self) -> AbstractContextManager[None]:
        """What is open in a call, while it runs; see `Apart`."""
        local = local_of(self.tracer.provider)
        return nullcontext() if local is None else Apart(local)

    def subsegment(self) -> Any:
        """A subsegment for a call, to be entered."""
        return self.tracer.provider.in_subsegment(name=self.title)

    def subsegment_async(self) -> Any:
        """Like `subsegment`, to be entered with ``async with``."""
        return self.tracer.provider.in_subsegment_async(name=self.title)

    @contextmanager
    def noted(self, subsegment: Any) -> Iterator[None]:
        """Note what goes wrong in the block, and what handlers tell."""
        is_cold_start = self.is_handler and self.module._is_cold_start()
        try:
            yield
        except Exception as error:
            self._failed(subsegment, error)
            raise
        finally:
            if self.is_handler and subsegment is not None:
                subsegment.put_annotation(key="ColdStart", value=is_cold_start)
                if self.tracer.service:
                    subsegment.put_annotation(key="Service", value=self.tracer.service)

    def _failed(self, subsegment: Any, error: Exception) -> None:
        whose = self.name if self.is_handler else f"'{self.name}' method"
        self.module.logger.exception(f"Exception received from {whose}")
        if subsegment is not None:
            self.tracer._add_full_exception_as_metadata(
                method_name=self.name,
                error=error,
                subsegment=subsegment,
                capture_error=self.error,
            )

    def returned(self, subsegment: Any, response: Any) -> None:
        """Note what came of it."""
        self.tracer._add_response_as_metadata(
            method_name=self.name,
            data=response,
            subsegment=subsegment,
            capture_response=self.response,
        )


def _chosen(module: Any, response: Any, error: Any) -> dict[str, Any]:
    """What is to be captured: as the decorator says, else as the environment does."""
    constants, resolve = module.constants, module.resolve_truthy_env_var_choice
    variables = (constants.TRACER_CAPTURE_RESPONSE_ENV, constants.TRACER_CAPTURE_ERROR_ENV)
    return {
        name: resolve(env=os.getenv(variable, "true"), choice=choice)
        for name, variable, choice in zip(
            ("response", "error"), variables, (response, error), strict=True
        )
    }


# Handlers.


def _capture_lambda_handler(module: Any, original: Function) -> Function:
    @functools.wraps(original)
    def capture_lambda_handler(
        self: Any,
        lambda_handler: Function | None = None,
        capture_response: bool | None = None,
        capture_error: bool | None = None,
    ) -> Any:
        if lambda_handler is None:
            return original(self, None, capture_response, capture_error)
        chosen = _chosen(module, capture_response, capture_error)
        capture = _Capture(module, self, lambda_handler.__name__, is_handler=True, **chosen)
        if inspect.iscoroutinefunction(lambda_handler):
            return _around_async_handler(capture, lambda_handler)
        return _around_handler(capture, lambda_handler)

    return capture_lambda_handler


def _around_async_handler(capture: _Capture, handler: Function) -> Function:
    @functools.wraps(handler)
    async def decorate(event: Any, context: Any, **kwargs: Any) -> Any:
        with request_for(context):
            async with capture.subsegment_async() as subsegment:
                with capture.noted(subsegment):
                    response = await handler(event, context, **kwargs)
                    capture.returned(subsegment, response)
        return response

    return decorate


def _around_handler(capture: _Capture, handler: Function) -> Function:
    @functools.wraps(handler)
    def decorate(event: Any, context: Any, **kwargs: Any) -> Any:
        call = functools.partial(handler, event, context, **kwargs)
        return _called(capture, call, lambda: request_for(context), inspect.isawaitable)

    return decorate


def _called(
    capture: _Capture,
    call: Callable[[], Any],
    request: Callable[[], AbstractContextManager[Any]],
    is_left: Callable[[Any], bool],
) -> Any:
    """Call it; where that leaves something to be awaited, it has not been done before that is."""
    part = capture.part()
    with request(), part, ExitStack() as stack:
        subsegment = stack.enter_context(capture.subsegment())
        stack.enter_context(capture.noted(subsegment))
        response = call()
        if is_left(response):
            return _awaited(capture, response, request(), part, stack.pop_all(), subsegment)
        capture.returned(subsegment, response)
    return response


async def _awaited(
    capture: _Capture,
    response: Awaitable[Any],
    request: AbstractContextManager[Any],
    part: AbstractContextManager[None],
    rest: AbstractContextManager[Any],
    subsegment: Any,
) -> Any:
    with request, part, rest:
        result = await response
        capture.returned(subsegment, result)
    return result


# Methods.


def _capture_method(module: Any, original: Function) -> Function:
    @functools.wraps(original)
    def capture_method(
        self: Any,
        method: Function | None = None,
        capture_response: bool | None = None,
        capture_error: bool | None = None,
    ) -> Any:
        around = None if method is None else _around_unknown(method)
        if method is None or around is None:
            return original(self, method, capture_response, capture_error)
        name = module.sanitize_xray_segment_name(f"{method.__module__}.{method.__qualname__}")
        chosen = _chosen(module, capture_response, capture_error)
        return around(_Capture(module, self, name, **chosen), method)

    return capture_method


def _around_unknown(method: Function) -> Callable[[_Capture, Function], Function] | None:
    """How to capture what powertools takes for a plain function, or None."""
    if inspect.isasyncgenfunction(method):
        return _around_async_generator
    if getattr(method, "__code__", None) is _MANAGER_CODE:
        return _around_async_manager
    if inspect.iscoroutinefunction(method):
        return None
    return _around_hidden_async if is_async(method) else None


@asynccontextmanager
async def _some_manager() -> AsyncIterator[None]:
    yield


_MANAGER_CODE = _some_manager.__code__
"""All functions that `asynccontextmanager` makes share it."""


def _around_hidden_async(capture: _Capture, method: Function) -> Function:
    """An ``async def`` below other decorators, unless one of them runs it to its end."""

    @functools.wraps(method)
    def decorate(*args: Any, **kwargs: Any) -> Any:
        call = functools.partial(method, *args, **kwargs)
        return _called(capture, call, nullcontext, inspect.iscoroutine)

    return decorate


def _around_async_manager(capture: _Capture, method: Function) -> Function:
    @functools.wraps(method)
    @asynccontextmanager
    async def decorate(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async with capture.subsegment_async() as subsegment:
            with capture.noted(subsegment):
                async with method(*args, **kwargs) as result:
                    yield result
                capture.returned(subsegment, result)

    return decorate


# Generators.


def _resumed_apart(original: Function) -> Function:
    @functools.wraps(original)
    def _decorate_generator_function(self: Any, method: Function, *args: Any, **kwargs: Any) -> Any:
        captured = original(self, method, *args, **kwargs)

        @functools.wraps(method)
        def decorate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            local = local_of(self.provider)
            generator = captured(*args, **kwargs)
            if local is None:
                return (yield from generator)
            return (yield from _steps(generator, Apart(local)))

        return decorate

    return _decorate_generator_function


def _steps(
    generator: Generator[Any, Any, Any], part: AbstractContextManager[None]
) -> Generator[Any, Any, Any]:
    """Like ``yield from``, with each step in its own part."""
    step: Callable[[], Any] = functools.partial(next, generator)
    while True:
        with part:
            try:
                item = step()
            except StopIteration as stop:
                return stop.value
        try:
            sent = yield item
        except GeneratorExit:
            with part:
                generator.close()
            raise
        except BaseException as error:
            step = functools.partial(generator.throw, error)
        else:
            step = functools.partial(generator.send, sent)


def _around_async_generator(capture: _Capture, method: Function) -> Function:
    @functools.wraps(method)
    async def decorate(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        part = capture.part()
        generator = method(*args, **kwargs)
        step = functools.partial(generator.asend, None)
        async with _entered_in(part, capture.subsegment_async()) as subsegment:
            with capture.noted(subsegment):
                while True:
                    with part:
                        try:
                            item = await step()
                        except StopAsyncIteration:
                            return
                    try:
                        sent = yield item
                    except GeneratorExit:
                        with part:
                            await generator.aclose()
                        raise
                    except BaseException as error:
                        step = functools.partial(generator.athrow, error)
                    else:
                        step = functools.partial(generator.asend, sent)

    return decorate


@asynccontextmanager
async def _entered_in(part: AbstractContextManager[None], manager: Any) -> AsyncIterator[Any]:
    """Enter and leave it as a step of its own each, in the part."""
    with part:
        entered = await manager.__aenter__()
    try:
        yield entered
    except BaseException as error:
        with part:
            await manager.__aexit__(type(error), error, error.__traceback__)
        raise
    else:
        with part:
            await manager.__aexit__(None, None, None)
