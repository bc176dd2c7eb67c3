"""Whose child an invocation is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, get_current_span

from lmi_runtime.context import Request
from lmi_runtime.integrations.opentelemetry.parents import Parent, origin_of, xray_context
from lmi_runtime.model import Invocation

TRACE, SPAN = "5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8"
SAMPLED = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
UNSAMPLED = SAMPLED.replace("Sampled=1", "Sampled=0")
W3C_TRACE, W3C_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{W3C_TRACE}-{W3C_SPAN}-01"


def request(xray: str | None = None, w3c: dict[str, str] | None = None) -> Request:
    sent = None if w3c is None else json.dumps({"w3c": w3c})
    return Request(Invocation(request_id="r", trace_id=xray, client_context=sent))


def ids(context: Context) -> tuple[str, str] | None:
    span = get_current_span(context).get_span_context()
    return (f"{span.trace_id:032x}", f"{span.span_id:016x}") if span.is_valid else None


class TestXRay:
    def test_a_header_names_a_remote_span(self) -> None:
        span = xray_context(SAMPLED)
        assert span is not None
        assert (f"{span.trace_id:032x}", f"{span.span_id:016x}") == (TRACE, SPAN)
        assert span.is_remote
        assert span.trace_flags.sampled

    def test_lambdas_own_fields_and_any_order_are_fine(self) -> None:
        span = xray_context(
            f" Sampled=0; Lineage=a:1|b:0 ;Parent={SPAN};Self=1-1-1;Root=1-{TRACE[:8]}-{TRACE[8:]}"
        )
        assert span is not None
        assert f"{span.trace_id:032x}" == TRACE
        assert not span.trace_flags.sampled

    @pytest.mark.parametrize(
        "header",
        [
            None,
            "",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1",
            SAMPLED.replace("Root=1-", "Root=2-"),
            SAMPLED.replace("bd862e3f", "bd862e3"),
            SAMPLED.replace(SPAN, "xyz"),
            SAMPLED.replace(SPAN, "0" * 16),
            "Root=1-00000000-000000000000000000000000;Parent=53995c3f42cd8ad8;Sampled=1",
        ],
    )
    def test_anything_else_names_none(self, header: str | None) -> None:
        assert xray_context(header) is None

    @given(st.text())
    def test_no_header_is_too_bad(self, header: str) -> None:
        xray_context(header)


@pytest.mark.parametrize(
    ("parent", "xray", "event", "w3c", "expected", "links"),
    [
        ("auto", SAMPLED, {}, None, (TRACE, SPAN), []),
        ("auto", UNSAMPLED, {}, None, None, [TRACE]),
        ("xray", UNSAMPLED, {}, None, (TRACE, SPAN), []),
        ("w3c", SAMPLED, {}, None, None, []),
        ("auto", None, {}, None, None, []),
        ("auto", SAMPLED, {"headers": {"Traceparent": TRACEPARENT}}, None, "w3c", [TRACE]),
        ("w3c", SAMPLED, {"headers": {"traceparent": TRACEPARENT}}, None, "w3c", [TRACE]),
        ("xray", SAMPLED, {"headers": {"traceparent": TRACEPARENT}}, None, (TRACE, SPAN), []),
        ("auto", SAMPLED, {"headers": {"traceparent": "nonsense"}}, None, (TRACE, SPAN), []),
        ("auto", SAMPLED, {}, {"traceparent": TRACEPARENT}, "w3c", [TRACE]),
        ("auto", None, {"headers": None}, None, None, []),
        ("auto", None, {"headers": {"a": ["b"]}}, None, None, []),
        ("auto", None, ["no mapping"], None, None, []),
    ],
)
def test_the_parent(
    parent: Parent,
    xray: str | None,
    event: Any,
    w3c: dict[str, str] | None,
    expected: Any,
    links: list[str],
) -> None:
    origin = origin_of(request(xray, w3c), event, parent)
    assert ids(origin.parent) == ((W3C_TRACE, W3C_SPAN) if expected == "w3c" else expected)
    assert [f"{link.context.trace_id:032x}" for link in origin.links] == links


def test_the_invokers_word_goes_before_a_header_of_the_event() -> None:
    other = f"00-{'1' * 32}-{'2' * 16}-01"
    origin = origin_of(
        request(None, {"traceparent": TRACEPARENT}), {"headers": {"traceparent": other}}, "auto"
    )
    assert ids(origin.parent) == (W3C_TRACE, W3C_SPAN)


def test_baggage_comes_along() -> None:
    event = {"headers": {"traceparent": TRACEPARENT, "baggage": "tenant=blue"}}
    assert baggage.get_baggage("tenant", origin_of(request(), event, "auto").parent) == "blue"


def test_a_span_that_is_open_already_is_the_parent() -> None:
    outer = NonRecordingSpan(SpanContext(1, 2, False, TraceFlags(1)))
    token = attach(trace.set_span_in_context(outer))
    try:
        origin = origin_of(request(SAMPLED), {"headers": {"traceparent": TRACEPARENT}}, "auto")
    finally:
        detach(token)
    assert ids(origin.parent) == (f"{1:032x}", f"{2:016x}")
    assert origin.links == ()


def test_the_senders_of_a_batch_are_linked_to() -> None:
    record = {"eventSource": "aws:sqs", "attributes": {"AWSTraceHeader": UNSAMPLED}}
    event = {"Records": [record, {"attributes": {}}, {"attributes": None}, "odd", record]}
    assert [
        f"{link.context.trace_id:032x}" for link in origin_of(request(), event, "auto").links
    ] == [
        TRACE,
        TRACE,
    ]
    assert origin_of(request(), {"Records": "odd"}, "auto").links == ()
