"""
An OpenTelemetry collector on loopback: it takes OTLP over HTTP and keeps the spans.

    with Collector() as collector:
        exporter = OTLPSpanExporter(endpoint=collector.url)
"""

from __future__ import annotations

import gzip
import threading
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.loopback import Handler, Loopback

__all__ = ["Collector"]


class Collector(Loopback):
    """Thread safety: from any thread."""

    def __init__(self) -> None:
        super().__init__(_handler_of(self))
        self._lock = threading.Lock()
        self._spans: list[Any] = []  # guarded by _lock
        self._exports = 0  # guarded by _lock

    @property
    def url(self) -> str:
        """What an exporter posts traces to."""
        return f"{super().url}/v1/traces"

    @property
    def spans(self) -> list[Any]:
        """Every span that came in, as protobuf has it."""
        with self._lock:
            return list(self._spans)

    @property
    def exports(self) -> int:
        """How many times something came in."""
        with self._lock:
            return self._exports

    def take(self, request: ExportTraceServiceRequest) -> None:
        """What the exporters' posts lead to."""
        with self._lock:
            self._exports += 1
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    self._spans.extend(scope.spans)


def _handler_of(collector: Collector) -> type[Handler]:
    class Taking(Handler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.take(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.answer(answer, Content_Type="application/x-protobuf")

    return Taking
