"""A handler made ready to serve: bytes in, outcome out, user code in between."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import copy_context
from typing import Any, NoReturn

from lmi_runtime.context import current
from lmi_runtime.errors import ResponseTooLarge
from lmi_runtime.handlers.chunks import AsyncChunks, Chunks, ThreadChunks
from lmi_runtime.handlers.faults import failure_of
from lmi_runtime.handlers.loading import Target
from lmi_runtime.handlers.spec import HandlerSpec, Style
from lmi_runtime.model import (
    MAX_RESPONSE_BYTES,
    Entry,
    Failure,
    Invocation,
    Outcome,
    Streaming,
    Success,
)

__all__ = ["make_entry"]


def make_entry(target: Target, spec: HandlerSpec | None = None) -> Entry:
    """
    Make the entry that serves `target`.

    Args:
        target: What `load()` found.
        spec: Serve it by this spec instead of its own.

    Thread safety: the entry serves any number of invocations at once. It keeps nothing of
    them; each has to run in a context where `enter()` has put its request.
    """
    spec = spec or target.spec
    return _ENTRIES[spec.style](spec)


class _Entry:
    """What all entries share; frozen after construction."""

    __slots__ = (
        "_call",
        "_context",
        "_decode",
        "_encode",
        "cancel_at_deadline",
        "deadline_margin_s",
        "kind",
    )

    def __init__(self, spec: HandlerSpec) -> None:
        self.kind = spec.kind
        self.deadline_margin_s = spec.deadline_margin_s
        self.cancel_at_deadline = spec.deadline == "cancel"
        # Bound once: what differs between handlers is settled here and not on every call.
        self._decode = spec.codec.decode
        self._encode = spec.codec.encode
        self._call = _calling(spec)
        self._context = _lambda_context if spec.takes_context else _nothing

    async def serve(self, invocation: Invocation) -> Outcome:
        self._refuse("serve_blocking()")

    def serve_blocking(self, invocation: Invocation) -> Outcome:
        self._refuse("serve()")

    def _whole(self, result: Any) -> Outcome:
        body, content_type = self._encode(result)
        if len(body) > MAX_RESPONSE_BYTES:
            return _too_large(body)
        return Success(body, content_type)

    def _refuse(self, instead: str) -> NoReturn:
        raise TypeError(f"An entry of kind {self.kind.name} is run with {instead}.")


class _CoroutineEntry(_Entry):
    __slots__ = ()

    async def serve(self, invocation: Invocation) -> Outcome:
        try:
            event = self._decode(invocation.body, invocation.content_type)
            return self._whole(await self._call(event, self._context()))
        except BaseException as exc:
            if _is_from_outside(exc):
                raise
            return failure_of(exc)


class _FunctionEntry(_Entry):
    __slots__ = ()

    def serve_blocking(self, invocation: Invocation) -> Outcome:
        try:
            event = self._decode(invocation.body, invocation.content_type)
            return self._whole(self._call(event, self._context()))
        except BaseException as exc:
            if _is_from_outside(exc):
                raise
            return failure_of(exc)


class _AsyncStreamEntry(_Entry):
    __slots__ = ()

    async def serve(self, invocation: Invocation) -> Outcome:
        try:
            event = self._decode(invocation.body, invocation.content_type)
            items = self._call(event, self._context())
            if inspect.isawaitable(items):
                items = await items
            if not isinstance(items, AsyncIterator):  # a decorator answered in its place
                return self._whole(items)
            chunks = AsyncChunks(items, _is_from_outside)
            await chunks.open()
        except BaseException as exc:
            if _is_from_outside(exc):
                raise
            return failure_of(exc)
        return _begun(chunks)


class _StreamEntry(_Entry):
    __slots__ = ()

    def serve_blocking(self, invocation: Invocation) -> Outcome:
        try:
            event = self._decode(invocation.body, invocation.content_type)
            # Every step of the generator sees the same context, whichever thread runs it.
            context = copy_context()
            items = context.run(self._call, event, self._context())
            if not isinstance(items, Iterator):  # a decorator answered in its place
                return self._whole(items)
            chunks = ThreadChunks(items, context, _is_from_outside)
            chunks.open()
        except BaseException as exc:
            if _is_from_outside(exc):
                raise
            return failure_of(exc)
        return _begun(chunks)


_ENTRIES: dict[Style, Callable[[HandlerSpec], Entry]] = {
    Style.COROUTINE: _CoroutineEntry,
    Style.FUNCTION: _FunctionEntry,
    Style.ASYNC_STREAM: _AsyncStreamEntry,
    Style.STREAM: _StreamEntry,
}


def _begun(chunks: Chunks) -> Outcome:
    if chunks.is_empty:
        return Success(b"", chunks.content_type)
    return Streaming(chunks, chunks.content_type)


def _too_large(body: bytes) -> Failure:
    return failure_of(
        ResponseTooLarge(
            f"The response is {len(body)} bytes; Lambda takes at most {MAX_RESPONSE_BYTES}. "
            "Return less, stream it, or put it in S3 and return its address."
        )
    )


def _lambda_context() -> Any:
    return current().lambda_context


def _nothing() -> None:
    return None


def _calling(spec: HandlerSpec) -> Callable[[Any, Any], Any]:
    """A callable of two arguments, whatever the handler takes."""
    function: Callable[..., Any] = spec.function
    if not spec.takes_context:
        bare = function

        def function(event: Any, context: Any) -> Any:
            return bare(event)

    if spec.style is Style.COROUTINE and not inspect.iscoroutinefunction(spec.function):
        return _awaiting(function)
    return function


def _awaiting(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """For a coroutine function behind a decorator that is none, and may not call it at all."""

    async def call(event: Any, context: Any) -> Any:
        result = function(event, context)
        return await result if inspect.isawaitable(result) else result

    return call


def _is_from_outside(exc: BaseException) -> bool:
    """Whether `exc` is the runtime cancelling the calling task, and has to go through."""
    if isinstance(exc, Exception):
        return False
    trio = sys.modules.get("trio")
    # Trio has no cancellation but its own, and finds it inside groups as well.
    if trio is not None and _contains(exc, trio.Cancelled):
        return True
    if not isinstance(exc, asyncio.CancelledError):
        return False
    # Nobody asked for it: a future that was cancelled, say. That is the handler's own affair.
    return _task_is_cancelled()


def _contains(exc: BaseException, kind: type[BaseException]) -> bool:
    if isinstance(exc, BaseExceptionGroup):
        return exc.subgroup(kind) is not None
    return isinstance(exc, kind)


def _task_is_cancelled() -> bool:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop in this thread
        return False
    return task is not None and task.cancelling() > 0
