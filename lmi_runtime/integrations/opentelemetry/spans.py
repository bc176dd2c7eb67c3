"""`@traced`: a span around each invocation."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from typing import Any, Literal, TypeVar, cast, overload

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode, TracerProvider

from lmi_runtime import _sync
from lmi_runtime.context import Request
from lmi_runtime.errors import ConfigurationError
from lmi_runtime.handlers import on_shutdown
from lmi_runtime.integrations.calls import in_thread, is_awaited_here, request_for
from lmi_runtime.integrations.helper_threads import carry_requests
from lmi_runtime.integrations.opentelemetry.attributes import (
    http_status_of,
    kind_of,
    span_attributes,
    trigger_of,
)
from lmi_runtime.integrations.opentelemetry.flushing import Flusher
from lmi_runtime.integrations.opentelemetry.parents import Parent, origin_of

__all__ = ["traced"]

F = TypeVar("F", bound=Callable[..., Any])

Flush = Literal["background", "invocation"]

logger = logging.getLogger("lmi_runtime.integrations")

_SHUTDOWN_S = 0.1
_LONGEST_FLUSH_S = 5.0
_MARGIN_S = 0.2
"""Kept back before the deadline: the answer has to go out after the flush."""


@overload
def traced(function: F, /) -> F: ...
@overload
def traced(
    *,
    tracer_provider: TracerProvider | None = None,
    parent: Parent = "auto",
    flush: Flush = "background",
    helper_threads: bool = True,
) -> Callable[[F], F]: ...
def traced(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """
    Make a span of every invocation, with or without arguments. Put it below ``@handler``.

    Takes ``async def``, ``def`` and generators of both kinds, whose span lasts until the last
    item. What the handler starts finds the span as its current one: tasks by themselves, threads
    as `helper_threads` says. The span has the ``faas`` attributes of the semantic conventions;
    exceptions, cancellation at the deadline included, make it an error.

    Args:
        function: The handler to decorate.
        tracer_provider: Where spans go; by default the global one, looked up at each invocation.
        parent: ``"auto"``: W3C trace context that was sent with the invocation or in its HTTP
            headers, else X-Ray's where X-Ray samples the trace; the other is linked to.
            ``"w3c"`` and ``"xray"`` take one only; the latter obeys X-Ray's sampling.
        flush: ``"background"``: exporters work at their own pace, and once more when the process
            stops. ``"invocation"``: the answer waits until the spans are out, for 5 seconds or
            until 0.2 s before the deadline; needed where the environment freezes between
            invocations. Invocations that end together share a flush.
        helper_threads: Plain threads and `ThreadPoolExecutor` take the context along too.

    Raises:
        ConfigurationError: An option makes no sense.

    Thread safety: the result may be called from any number of threads and tasks at once.
    """
    if function is not None:
        return _Tracing(**options).around(function)
    return _Tracing(**options).around


class _Tracing:
    """Thread safety: constant."""

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        parent: Parent = "auto",
        flush: Flush = "background",
        helper_threads: bool = True,
    ) -> None:
        _check("parent", parent, ("auto", "w3c", "xray"))
        _check("flush", flush, ("background", "invocation"))
        self._provider = tracer_provider
        self._parent = parent
        self._flushes = flush == "invocation"
        if helper_threads:
            carry_requests()

    def around(self, function: F) -> F:
        wrapped: Any
        if inspect.isasyncgenfunction(function):
            wrapped = self._around_async_stream(function)
        elif inspect.isgeneratorfunction(function):
            wrapped = self._around_stream(function)
        elif inspect.iscoroutinefunction(function):
            wrapped = self._around_coroutine(function)
        else:
            wrapped = self._around_function(function)
        functools.update_wrapper(wrapped, function)
        return cast("F", wrapped)

    def _around_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        awaiting = self._around_coroutine(function)

        def traced_function(event: Any, *arguments: Any) -> Any:
            if is_awaited_here(function):
                return awaiting(event, *arguments)
            lambda_context = _first_of(arguments)
            with (
                request_for(lambda_context) as request,
                self._flushed(request),
                ExitStack() as rest,
            ):
                span, within = self._begun(function, event, request)
                rest.enter_context(_ended(span))
                with _attached(within):
                    result = function(event, *arguments)
                go_on = self._way_to_go_on(result)
                if go_on is not None:
                    return go_on(result, lambda_context, span, within, rest.pop_all())
                _note_result(span, result)
                return result

        return traced_function

    def _way_to_go_on(self, result: Any) -> Callable[..., Any] | None:
        """With what lies below other decorators, and has only been made."""
        if inspect.isawaitable(result):
            return self._awaited
        if inspect.isgenerator(result):
            return self._read
        return self._read_async if inspect.isasyncgen(result) else None

    async def _awaited(
        self,
        result: Awaitable[Any],
        lambda_context: Any,
        span: Span,
        within: Context,
        rest: AbstractContextManager[Any],
    ) -> Any:
        with request_for(lambda_context) as request:
            async with self._aflushed(request):
                with rest, _attached(within):
                    answer = await result
                    _note_result(span, answer)
                    return answer

    def _read(
        self,
        result: Iterator[Any],
        lambda_context: Any,
        _: Span,
        within: Context,
        rest: AbstractContextManager[Any],
    ) -> Iterator[Any]:
        with (
            request_for(lambda_context) as request,
            self._flushed(request),
            rest,
            _attached(within),
        ):
            yield from result

    async def _read_async(
        self,
        result: AsyncIterator[Any],
        lambda_context: Any,
        _: Span,
        within: Context,
        rest: AbstractContextManager[Any],
    ) -> AsyncIterator[Any]:
        with request_for(lambda_context) as request:
            async with self._aflushed(request):
                with rest, _attached(within):
                    async for item in result:
                        yield item

    def _around_coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def traced_coroutine(event: Any, *arguments: Any) -> Any:
            with request_for(_first_of(arguments)) as request:
                async with self._aflushed(request):
                    with self._span(function, event, request) as span:
                        result = function(event, *arguments)
                        if inspect.isawaitable(result):
                            result = await result
                        _note_result(span, result)
                        return result

        return traced_coroutine

    def _around_stream(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def traced_stream(event: Any, *arguments: Any) -> Iterator[Any]:
            with (
                request_for(_first_of(arguments)) as request,
                self._flushed(request),
                self._span(function, event, request),
            ):
                yield from function(event, *arguments)

        return traced_stream

    def _around_async_stream(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def traced_async_stream(event: Any, *arguments: Any) -> AsyncIterator[Any]:
            with request_for(_first_of(arguments)) as request:
                async with self._aflushed(request):
                    with self._span(function, event, request):
                        async for item in function(event, *arguments):
                            yield item

        return traced_async_stream

    @contextmanager
    def _span(self, function: Callable[..., Any], event: Any, request: Request) -> Iterator[Span]:
        span, within = self._begun(function, event, request)
        with _ended(span), _attached(within):
            yield span

    def _begun(
        self, function: Callable[..., Any], event: Any, request: Request
    ) -> tuple[Span, Context]:
        """A span, and the context that it is the current one of."""
        origin = origin_of(request, event, self._parent)
        tracer = trace.get_tracer("lmi_runtime", tracer_provider=self._of())
        trigger = trigger_of(event)
        span = tracer.start_span(
            os.environ.get("AWS_LAMBDA_FUNCTION_NAME") or function.__qualname__,
            context=origin.parent,
            kind=kind_of(trigger),
            attributes=span_attributes(request, event, trigger, is_cold=_is_cold()),
            links=origin.links,
        )
        return span, trace.set_span_in_context(span, origin.parent)

    def _of(self) -> TracerProvider:
        provider = self._provider or trace.get_tracer_provider()
        _flusher_of(provider)  # so that it is flushed at the end
        return provider

    @contextmanager
    def _flushed(self, request: Request) -> Iterator[None]:
        try:
            yield
        finally:
            if self._flushes:
                _flush(self._of(), request)

    @asynccontextmanager
    async def _aflushed(self, request: Request) -> AsyncIterator[None]:
        try:
            yield
        finally:
            # In a task that is being cancelled this ends at once: there is no time left either.
            if self._flushes:
                await in_thread(_flush, self._of(), request)


def _check(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        choices = " nor ".join(map(repr, known)) if len(known) == 2 else f"one of {known}"
        word = "neither" if len(known) == 2 else "not"
        raise ConfigurationError(f"{name}={value!r} is {word} {choices}.")


def _first_of(arguments: tuple[Any, ...]) -> Any:
    """The context object, where the handler takes one."""
    return arguments[0] if arguments else None


@contextmanager
def _ended(span: Span) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        _note_failure(span, error)
        raise
    finally:
        span.end()


@contextmanager
def _attached(within: Context) -> Iterator[None]:
    token = otel_context.attach(within)
    try:
        yield
    finally:
        # Not `detach`: it logs an error where a stream is ended in another context than begun.
        with contextlib.suppress(ValueError):
            otel_context._RUNTIME_CONTEXT.detach(token)


def _note_result(span: Span, result: Any) -> None:
    status = http_status_of(result)
    if status is not None:
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))


def _note_failure(span: Span, error: BaseException) -> None:
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    span.record_exception(error)
    span.set_attribute("error.type", kind.removeprefix("builtins."))
    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))


# ------------------------------------------------------------------ once in a process

_first = _sync.ProcessWide(lambda: _sync.Lock())
"""Taken by the first invocation, for good: it was cold."""


def _is_cold() -> bool:
    return _first().acquire(blocking=False)


_flushers: _sync.ProcessWide[weakref.WeakKeyDictionary[Any, Flusher]]
_flushers = _sync.ProcessWide(lambda: weakref.WeakKeyDictionary(), anew_in_child=True)
"""By provider. Written under _flushers_lock; read without."""
_flushers_lock = _sync.ProcessWide(lambda: _sync.Lock(), anew_in_child=True)


def _flusher_of(provider: Any) -> Flusher | None:
    """None for providers that have nothing to flush, such as the API's own before it is set."""
    made = _flushers().get(provider)
    if made is not None or not hasattr(provider, "force_flush"):
        return made
    with _flushers_lock():
        made = _flushers().get(provider)
        if made is None:
            reference = weakref.ref(provider)
            made = _flushers()[provider] = Flusher(functools.partial(_force, reference))
            on_shutdown(_last_flush(made))
    return made


def _last_flush(flusher: Flusher) -> Callable[[], None]:
    def flush() -> None:
        flusher.flush(_SHUTDOWN_S)

    # What the log calls it when there was not enough time.
    flush.__qualname__ = "sending the spans that were left"
    return flush


def _force(reference: weakref.ref[Any], timeout_s: float) -> None:
    provider = reference()
    if provider is not None:
        provider.force_flush(max(1, int(timeout_s * 1000)))


def _flush(provider: Any, request: Request) -> None:
    flusher = _flusher_of(provider)
    if flusher is None:
        return
    try:
        flusher.flush(min(_LONGEST_FLUSH_S, request.remaining_s() - _MARGIN_S))
    except Exception:
        logger.warning("The spans of request %s could not be sent.", request.request_id)
        logger.debug("Flushing failed", exc_info=True)
