"""Whose child an invocation is: pure functions from what was sent to OpenTelemetry's contexts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from opentelemetry import propagate
from opentelemetry.context import Context, get_current
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from lmi_runtime.context import Request

__all__ = ["Origin", "Parent", "origin_of", "xray_context"]

Parent = Literal["auto", "w3c", "xray"]

_ROOT = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})\Z")
_PARENT = re.compile(r"[0-9a-f]{16}\Z")


class Origin(NamedTuple):
    """
    Where an invocation comes from.

    Attributes:
        parent: The context to start its span in; without a span for a trace of its own.
        links: Other spans that it has to do with.
    """

    parent: Context
    links: tuple[Link, ...]


def origin_of(request: Request, event: Any, parent: Parent) -> Origin:
    """
    Choose the parent of an invocation's span.

    W3C trace context goes first: the invoker's SDK may have sent it in the client context, an
    HTTP client in the event's headers, which are read by the propagators that are configured.
    Otherwise X-Ray's header is the parent, where X-Ray has sampled the trace. One that it has
    not, which is all of them while active tracing is off, would silence the whole invocation with
    OpenTelemetry's usual samplers: with ``auto`` it is only linked to. Where another decorator
    has begun a span already, that is the parent.
    """
    here = get_current()
    if _is_valid(here):
        return Origin(here, tuple(_links(event)))
    xray = xray_context(request.trace_id)
    sent = here if parent == "xray" else _sent(request, event, here)
    links = list(_links(event))
    if _is_valid(sent):
        if xray is not None:
            links.insert(0, Link(xray))
        return Origin(sent, tuple(links))
    if xray is None or parent == "w3c":
        return Origin(sent, tuple(links))
    if parent == "xray" or xray.trace_flags.sampled:
        return Origin(set_span_in_context(NonRecordingSpan(xray), sent), tuple(links))
    return Origin(sent, (Link(xray), *links))


def xray_context(header: str | None) -> SpanContext | None:
    """
    The span that an X-Ray header names, such as ``Root=1-5759e988-bd8..;Parent=539..;Sampled=1``.

    None when it is missing or malformed, or has no parent: a trace alone is no span.
    """
    fields = dict(_fields(header or ""))
    root = _ROOT.match(fields.get("root", ""))
    parent = _PARENT.match(fields.get("parent", ""))
    if root is None or parent is None:
        return None
    flags = TraceFlags.SAMPLED if fields.get("sampled") == "1" else TraceFlags.DEFAULT
    trace_id, span_id = int(root[1] + root[2], 16), int(parent[0], 16)
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None


def _fields(header: str) -> Iterator[tuple[str, str]]:
    for part in header.split(";"):
        name, is_field, value = part.strip().partition("=")
        if is_field:
            yield name.lower(), value.lower()


def _sent(request: Request, event: Any, here: Context) -> Context:
    from_invoker = propagate.extract(_w3c_of(request), context=here)
    if _is_valid(from_invoker):
        return from_invoker
    return propagate.extract(_headers(event), context=here)


def _w3c_of(request: Request) -> Mapping[str, str]:
    # Another runtime's context object may know nothing of it.
    read = getattr(request.lambda_context, "w3c", None)
    sent = read() if callable(read) else read
    return sent if isinstance(sent, Mapping) else {}


def _headers(event: Any) -> dict[str, str]:
    headers = event.get("headers") if isinstance(event, Mapping) else None
    if not isinstance(headers, Mapping):
        return {}
    # HTTP/1.1 clients may capitalize them, and REST APIs pass them on as they are.
    return {
        name.lower(): value
        for name, value in headers.items()
        if isinstance(name, str) and isinstance(value, str)
    }


def _is_valid(context: Context) -> bool:
    return get_current_span(context).get_span_context().is_valid


def _links(event: Any) -> Iterator[Link]:
    """The senders of a batch of SQS messages."""
    records = event.get("Records") if isinstance(event, Mapping) else None
    for record in records if isinstance(records, list) else ():
        attributes = record.get("attributes") if isinstance(record, Mapping) else None
        header = attributes.get("AWSTraceHeader") if isinstance(attributes, Mapping) else None
        sender = xray_context(header if isinstance(header, str) else None)
        if sender is not None:
            yield Link(sender)
