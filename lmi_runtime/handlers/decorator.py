"""`@handler`: one function for every runtime that may call it."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextvars import copy_context
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from lmi_runtime.context import Request, enter, peek
from lmi_runtime.errors import ConfigurationError, DeadlineExceeded
from lmi_runtime.handlers.bridge import run_on_loop
from lmi_runtime.handlers.spec import (
    DEFAULT_DEADLINE_MARGIN_S,
    Concurrency,
    Deadline,
    HandlerSpec,
    Style,
    describe,
    spec_of,
)

__all__ = ["Handler", "handler"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Handler(Protocol[P, R_co]):
    """What ``@handler`` returns: a plain synchronous callable that remembers its spec."""

    __lmi_handler__: HandlerSpec
    __wrapped__: Callable[..., Any]
    __name__: str
    __qualname__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Serve one event, as awslambdaric would have it."""
        ...


class _Decorate(Protocol):
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Handler[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, AsyncIterator[Any]], /) -> Handler[P, Any]: ...
    @overload
    def __call__(self, function: Callable[P, Iterator[Any]], /) -> Handler[P, Any]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Handler[P, R]: ...


@overload
def handler(function: Callable[P, Coroutine[Any, Any, R]], /) -> Handler[P, R]: ...
@overload
def handler(function: Callable[P, AsyncIterator[Any]], /) -> Handler[P, Any]: ...
@overload
def handler(function: Callable[P, Iterator[Any]], /) -> Handler[P, Any]: ...
@overload
def handler(function: Callable[P, R], /) -> Handler[P, R]: ...
@overload
def handler(
    *,
    max_per_vcpu: int | None = None,
    concurrency: Concurrency | None = None,
    deadline: Deadline = "cancel",
    deadline_margin_s: float = DEFAULT_DEADLINE_MARGIN_S,
    serializer: object = None,
) -> _Decorate: ...
def handler(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """
    Make a Lambda handler of a function, with or without arguments.

    Takes ``async def``, ``def``, generators of both kinds (their items are streamed), bound
    methods and objects with `__call__`, as long as they take ``(event, context)`` or
    ``(event)``. This package's runtime runs what was written natively. Every other caller, such
    as AWS's own runtime, gets a plain synchronous function: ``async def`` runs on one event loop
    per process, a stream is joined into one response, `current()` works all the same.

    Args:
        function: The function to decorate.
        max_per_vcpu: Invocations at once for each vCPU; by default as many as the platform
            sends.
        concurrency: ``"async"``: invocations share a process as tasks; the default for
            ``async def``. ``"threads"``: a plain ``def`` declares itself thread-safe, and
            invocations share a process as threads. ``"process"``: one at a time in a process;
            the default for ``def``.
        deadline: ``"cancel"`` ends it `deadline_margin_s` before the platform gives up, so that
            its caller learns what happened: an async handler is cancelled; a thread cannot be,
            its caller is answered and it keeps its slot until it ends. ``"report"`` only logs.
        deadline_margin_s: Seconds kept back before the deadline, 0.1 by default: enough to
            unwind and to post the error.
        serializer: How events are decoded and results encoded by this package's runtime: by
            default as awslambdaric does; ``"orjson"``; an object with `dumps` and perhaps
            `loads`; or a function that returns bytes.

    Raises:
        HandlerSignatureError: The function cannot be called with (event, context) or (event).
        ConfigurationError: An option makes no sense, or it is decorated already.

    Thread safety: the result may be called from any number of threads at once.
    """
    if function is not None:
        return _adapt(function, options)
    return functools.partial(_adapt, options=options)


def _adapt(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    if spec_of(function) is not None:
        raise ConfigurationError(f"{function!r} is decorated with @handler already.")

    def lmi_handler(event: Any, context: Any = None) -> Any:
        return call(event, context)

    spec = describe(function, adapter=lmi_handler, **options)
    call = functools.partial(_serve_foreign, spec)
    functools.update_wrapper(lmi_handler, function)
    lmi_handler.__lmi_handler__ = spec  # type: ignore[attr-defined]
    return lmi_handler


def _serve_foreign(spec: HandlerSpec, event: Any, context: Any) -> Any:
    """Serve one call from a runtime that is not ours."""
    surrounding = peek()
    if surrounding is not None and not surrounding.ended:
        # One handler calls another: it is the same request.
        return _run(spec, event, context, surrounding)
    request = Request.from_context(context)
    try:
        return copy_context().run(_run, spec, event, context, request)
    finally:
        request.end()


def _run(spec: HandlerSpec, event: Any, context: Any, request: Request) -> Any:
    enter(request)
    arguments = (event, context) if spec.takes_context else (event,)
    if not spec.style.is_async:
        result = spec.function(*arguments)
        if spec.style is not Style.STREAM or not isinstance(result, Iterator):
            return result
        from lmi_runtime.handlers.streaming import joined

        return joined(result)
    try:
        return run_on_loop(functools.partial(_run_async, spec, arguments, request))
    except BaseException as exc:
        from lmi_runtime.handlers.faults import user_traceback

        # How the loop got to the user's code is nothing a reader of the stack could use.
        exc.__traceback__ = user_traceback(exc)
        raise


async def _run_async(spec: HandlerSpec, arguments: tuple[Any, ...], request: Request) -> Any:
    from inspect import isawaitable

    import anyio

    enter(request)
    with anyio.CancelScope(deadline=_cancel_at(spec, request)):
        result = spec.function(*arguments)
        if isawaitable(result):
            result = await result
        if spec.style is Style.ASYNC_STREAM and isinstance(result, AsyncIterator):
            from lmi_runtime.handlers.streaming import joined

            return joined([item async for item in result])
        return result
    raise DeadlineExceeded(
        f"The handler was cancelled {spec.deadline_margin_s:g} s before its deadline."
    )


def _cancel_at(spec: HandlerSpec, request: Request) -> float:
    """When to cancel, on the loop's clock."""
    if spec.deadline != "cancel" or request.deadline_s is None:
        return float("inf")
    import anyio

    remaining_s = request.remaining_s() - spec.deadline_margin_s
    return anyio.current_time() + max(0.0, remaining_s)
