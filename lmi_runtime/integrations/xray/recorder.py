"""
The recorder: what is ended is what was begun, and what has ended is sent once.

A subsegment need not be the latest of its task when it ends: generators interleave, and what one
task enters another may leave.
"""

from __future__ import annotations

import functools
import logging
from types import ModuleType
from typing import Any
from weakref import WeakSet

from aws_xray_sdk.core.models.subsegment import (  # type: ignore[import-untyped]
    SubsegmentContextManager,
)

from lmi_runtime import _sync
from lmi_runtime.integrations.patching import Swaps, Unexpected
from lmi_runtime.integrations.xray.contexts import isolate_contexts
from lmi_runtime.integrations.xray.entities import change_one_at_a_time
from lmi_runtime.integrations.xray.storage import adopt, local_of

__all__ = ["isolate_recorder"]

logger = logging.getLogger("lmi_runtime.integrations")

_sending = _sync.ProcessWide(lambda: _sync.RLock(), anew_in_child=True)
"""Held while a tree is written out: nothing is taken out of it meanwhile."""
_sent = _sync.ProcessWide(lambda: WeakSet[Any]())
"""Segments that have been sent; guarded by _sending."""


def isolate_recorder(module: ModuleType, swaps: Swaps) -> None:
    """Everything of the SDK that a recorder uses, changed before there is any recorder."""
    isolate_contexts(swaps)
    change_one_at_a_time(swaps)
    kind = swaps.attribute(module, "AWSXRayRecorder")
    swaps.function(kind, "_send_segment", "self")
    swaps.function(kind, "_stream_subsegment_out", "self, subsegment")
    stream = swaps.function(kind, "stream_subsegments", "self")
    leave = swaps.function(SubsegmentContextManager, "__exit__", "self, exc_type, exc_val, exc_tb")
    held = swaps.attribute(kind, "context")
    if not isinstance(held, property):
        raise Unexpected(f"{kind.__qualname__}.context is no property")

    @functools.wraps(stream)
    def stream_subsegments(self: Any) -> None:
        with _sending():
            stream(self)

    @functools.wraps(leave)
    def leave_its_own(self: Any, *exc_info: Any) -> None:
        if self.subsegment is None or _is_innermost(self.recorder, self.subsegment):
            leave(self, *exc_info)
        else:
            leave(_Leaving(self), *exc_info)

    swaps.put(kind, "context", property(held.fget, _set_context))
    swaps.put(kind, "_send_segment", _send_segment)
    swaps.put(kind, "stream_subsegments", stream_subsegments)
    swaps.put(SubsegmentContextManager, "__exit__", leave_its_own)


def _set_context(self: Any, given: Any) -> None:
    former = self._context
    self._context = given
    if not _keeps_in_local(type(given)):
        logger.warning(
            "X-Ray: what is open in a %s is kept in a way of its own, which may not know requests "
            "apart; leave that to aws_xray_sdk's Context, or give the recorder no context.",
            type(given).__qualname__,
        )
    elif _keeps_in_local(type(former)):
        adopt(former, given)


def _keeps_in_local(kind: type) -> bool:
    """Whether everything that a context keeps goes by way of the SDK's ``_local``."""
    return hasattr(kind, "_local") and not any(
        _REACHES.isdisjoint(code.co_names)
        for owner in kind.__mro__
        if not owner.__module__.startswith(_SDK)
        for name in _KEEPING
        if (code := getattr(vars(owner).get(name), "__code__", None)) is not None
    )


_SDK = "aws_xray_sdk."
_REACHES = frozenset({"_local", "super"})
_KEEPING = (
    "clear_trace_entities",
    "get_trace_entity",
    "put_segment",
    "put_subsegment",
    "set_trace_entity",
)


def _is_innermost(recorder: Any, subsegment: Any) -> bool:
    """Also where it cannot be told: then it is for the SDK to end what it finds."""
    local = local_of(recorder)
    return local is None or local.stack()[-1:] == (subsegment,)


class _Leaving:
    """A context manager, and its recorder, whose subsegment is not the innermost one here."""

    def __init__(self, manager: Any) -> None:
        self.subsegment = manager.subsegment
        self.recorder = self
        self.max_trace_back = manager.recorder.max_trace_back
        self._recorder = manager.recorder

    def end_subsegment(self) -> None:
        """End it, and nothing else."""
        recorder, subsegment = self._recorder, self.subsegment
        segment = subsegment.parent_segment
        local = local_of(recorder)
        if local is not None and subsegment in local.stack():
            local.entities.remove(subsegment)
        subsegment.close()
        if segment.ready_to_send():
            _send(recorder, segment)
            if local is not None and local.stack()[-1:] == (segment,):
                recorder.clear_trace_entities()
        elif recorder.streaming.is_eligible(segment):
            with _sending():
                recorder.streaming.stream(segment, recorder._stream_subsegment_out)


def _send_segment(self: Any) -> None:
    """Send the current segment, unless another thread that ended the last of it has done so."""
    segment = self.current_segment()
    if segment:
        _send(self, segment)
        self.clear_trace_entities()


def _send(recorder: Any, segment: Any) -> None:
    with _sending():
        is_first = segment not in _sent()
        _sent().add(segment)
        if is_first and segment.sampled:
            recorder.emitter.send_entity(segment)
