"""
The SDK's contexts: each task and thread knows what is open in it, and whose trace that is.

On Lambda the trace is that of the request that is being served, whatever the environment says.
Tasks and threads that a request starts begin where their starter was, and all of them share the
request's one facade segment.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType
from typing import Any

from aws_xray_sdk.core import context as sdk_context  # type: ignore[import-untyped]
from aws_xray_sdk.core import lambda_launcher
from aws_xray_sdk.core.exceptions import exceptions  # type: ignore[import-untyped]
from aws_xray_sdk.core.models.dummy_entities import DummySegment  # type: ignore[import-untyped]
from aws_xray_sdk.core.models.trace_header import TraceHeader  # type: ignore[import-untyped]

from lmi_runtime import context
from lmi_runtime.context import Request
from lmi_runtime.integrations.patching import Swaps, Unexpected
from lmi_runtime.integrations.trace_header import trace_header
from lmi_runtime.integrations.xray.storage import Apart, Local, LocalAttribute

__all__ = ["isolate_async_context", "isolate_contexts"]

logger = logging.getLogger("lmi_runtime.integrations")


def isolate_contexts(swaps: Swaps) -> None:
    """Change the SDK's contexts, and with them all classes that are derived from them."""
    kind = swaps.attribute(sdk_context, "Context")
    swaps.fields(kind, "_local")
    put = swaps.function(kind, "put_subsegment", "self, subsegment")
    for name in ("put_segment", "set_trace_entity", "end_segment", "end_subsegment"):
        swaps.function(kind, name, "self")
    swaps.function(kind, "get_trace_entity", "self")
    swaps.function(kind, "clear_trace_entities", "self")
    swaps.put(kind, "_local", LocalAttribute())
    swaps.put(kind, "put_subsegment", _below_what_is_open(put))
    swaps.put(kind, "clear_trace_entities", _clear_trace_entities)
    _follow_requests(swaps)


def _clear_trace_entities(self: Any) -> None:
    """Keep no entities in this task or thread any more."""
    local = self._local
    if isinstance(local, Local):
        local.clear()
    else:
        vars(local).clear()


def _below_what_is_open(put: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    @functools.wraps(put)
    def put_subsegment(self: Any, subsegment: Any) -> None:
        try:
            put(self, subsegment)
        except exceptions.AlreadyEndedException:
            # A task or thread that outlived what it was started in.
            if not isinstance(self._local, Local):
                raise
            _put_further_out(self._local, subsegment)

    return put_subsegment


def _put_further_out(local: Local, subsegment: Any) -> None:
    """Below the innermost that is open; below nothing where all have ended."""
    stack = local.stack()
    candidates = [*reversed(stack), getattr(stack[-1], "parent_segment", stack[0])]
    if not any(_takes(candidate, subsegment) for candidate in candidates):
        logger.warning("X-Ray: %s began after its trace had ended, and is lost.", subsegment.name)
        # Ended like any other, and counted by nobody.
        subsegment.parent_segment = DummySegment()
    local.entities.append(subsegment)


def _takes(entity: Any, subsegment: Any) -> bool:
    try:
        entity.add_subsegment(subsegment)
    except exceptions.AlreadyEndedException:
        return False
    return True


# On Lambda, the platform makes the segment.


def _follow_requests(swaps: Swaps) -> None:
    kind = swaps.attribute(lambda_launcher, "LambdaContext")
    put = swaps.function(kind, "put_subsegment", "self, subsegment")
    refresh = swaps.function(kind, "_refresh_context", "self")
    get = swaps.function(kind, "get_trace_entity", "self")
    swaps.function(kind, "_initialize_context", "self, trace_header")

    @functools.wraps(refresh)
    def follow_request(self: Any) -> None:
        request = context.peek()
        if request is None:
            refresh(self)
        else:
            _go_on(self, request)

    @functools.wraps(get)
    def get_trace_entity(self: Any) -> Any:
        # The SDK asks fifteen times for each subsegment.
        request, local = context.peek(), self._local
        if request is not None and isinstance(local, Local):
            entity = local.settled(request)
            if entity is not None:
                return entity
        return get(self)

    swaps.put(kind, "get_trace_entity", get_trace_entity)
    swaps.put(kind, "_refresh_context", follow_request)
    swaps.put(kind, "put_subsegment", _below_what_is_open(_untold_without_trace(put)))


def _go_on(self: Any, request: Request) -> None:
    """Have the calling task or thread be somewhere in the request's trace."""
    local = self._local
    is_ours = isinstance(local, Local)
    if is_ours and local.settled(request) is not None:
        return
    header = trace_header()
    facade = request.keep(local, lambda: _facade(self, header))
    segment = getattr(local, "segment", None)
    is_own = is_ours and local.is_begun_in(request)
    if segment is None or not _is_of_trace(facade, segment, is_own=is_own):
        local.segment = facade
        local.entities = []
    if is_ours:
        local.settle(request)


def _facade(self: Any, header_text: str | None) -> Any:
    """The segment of a request: one, so that what its tasks begin is one tree."""
    header = TraceHeader.from_header_str(header_text)
    local = self._local
    begin = getattr(self, "_initialize_context", None) or functools.partial(
        lambda_launcher.LambdaContext._initialize_context, self
    )
    with Apart(local) if isinstance(local, Local) else nullcontext():
        begin(header)
        return local.segment


def _is_of_trace(facade: Any, segment: Any, *, is_own: bool) -> bool:
    if isinstance(facade, DummySegment):
        return True  # without a trace of its own a request takes what it is given
    # A trace may come by again, as a retry does; what the first left open is not the second's.
    return segment.trace_id == facade.trace_id and (is_own or segment.id == facade.id)


def _untold_without_trace(put: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """The SDK takes a missing trace for a worker that initialises, and says so each time."""

    @functools.wraps(put)
    def put_subsegment(self: Any, subsegment: Any) -> None:
        if context.peek() is None or not isinstance(self.get_trace_entity(), DummySegment):
            put(self, subsegment)

    return put_subsegment


# AsyncContext.


def isolate_async_context(module: ModuleType, swaps: Swaps) -> None:
    """Its tasks are found by their context: no task factory, which refuses other arguments."""
    kind = swaps.attribute(module, "AsyncContext")
    if not isinstance(getattr(kind, "_local", None), LocalAttribute):
        raise Unexpected("what it is derived from is as it was")
    swaps.function(kind, "__init__", "self, *args, loop, use_task_factory, **kwargs")
    clear = swaps.function(kind, "clear_trace_entities", "self")
    factory = swaps.function(module, "task_factory", "loop, coro")
    swaps.put(kind, "__init__", _init_async_context)
    swaps.put(kind, "get_trace_entity", _in_request(sdk_context.Context.get_trace_entity))
    swaps.put(kind, "clear_trace_entities", functools.wraps(clear)(_clear_trace_entities))
    swaps.put(module, "task_factory", _task_factory)
    _take_out(factory)


def _init_async_context(
    self: Any, *args: Any, loop: Any = None, use_task_factory: bool = True, **kwargs: Any
) -> None:
    sdk_context.Context.__init__(self, *args, **kwargs)
    self._loop = loop


def _task_factory(loop: Any, coro: Any, **kwargs: Any) -> Any:
    return asyncio.Task(coro, loop=loop, **kwargs)


def _take_out(factory: Any) -> None:
    """From the loop of a context that was there before."""
    recorder = getattr(sys.modules.get("aws_xray_sdk.core"), "xray_recorder", None)
    loop = getattr(getattr(recorder, "context", None), "_loop", None)
    if loop is not None and loop.get_task_factory() is factory:
        loop.set_task_factory(None)


def _in_request(get: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Where nothing is open on Lambda, what the platform opened is."""

    @functools.wraps(get)
    def get_trace_entity(self: Any) -> Any:
        local = self._local
        request = context.peek()
        if request is None or not os.environ.get(lambda_launcher.LAMBDA_TASK_ROOT_KEY):
            return get(self)
        if isinstance(local, Local) and not local.stack():
            _go_on(self, request)
            if not isinstance(local.segment, DummySegment):
                return local.segment
        return get(self)

    return get_trace_entity
