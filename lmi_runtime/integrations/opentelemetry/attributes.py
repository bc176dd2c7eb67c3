"""What a span and a resource say of an invocation, in the words of the semantic conventions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from lmi_runtime.context import Request

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.util.types import AttributeValue

__all__ = ["http_status_of", "kind_of", "lambda_resource", "span_attributes", "trigger_of"]

_MESSAGES = frozenset({"aws:kafka", "aws:mq", "aws:sns", "aws:sqs", "SelfManagedKafka"})
_DATA = frozenset({"aws:dynamodb", "aws:kinesis", "aws:s3"})


def span_attributes(
    request: Request, event: Any, trigger: str, *, is_cold: bool
) -> dict[str, AttributeValue]:
    """The attributes that an invocation's span starts with; `trigger` is that of the event."""
    attributes: dict[str, AttributeValue] = {
        "faas.coldstart": is_cold,
        "faas.invocation_id": request.request_id,
        "faas.trigger": trigger,
    }
    arn = request.function_arn
    if arn:
        attributes["aws.lambda.invoked_arn"] = arn
        parts = arn.split(":")
        # arn:aws:lambda:region:account:function:name[:version or alias]
        attributes["cloud.resource_id"] = ":".join(parts[:7])
        if len(parts) >= 7:
            attributes["cloud.account.id"] = parts[4]
    if trigger == "http":
        attributes.update(_http_attributes(event))
    return attributes


def trigger_of(event: Any) -> str:
    """``http``, ``pubsub``, ``datasource``, ``timer`` or ``other``."""
    if not isinstance(event, Mapping):
        return "other"
    if _method(event) is not None:
        return "http"
    if event.get("source") in ("aws.events", "aws.scheduler"):
        return "timer"
    source = event.get("eventSource")
    records = event.get("Records")
    if isinstance(records, list) and records and isinstance(records[0], Mapping):
        source = records[0].get("eventSource") or records[0].get("EventSource")
    if source in _MESSAGES:
        return "pubsub"
    return "datasource" if source in _DATA else "other"


def kind_of(trigger: str) -> SpanKind:
    """Consumer of messages, or server of everything else."""
    return SpanKind.CONSUMER if trigger == "pubsub" else SpanKind.SERVER


def http_status_of(result: Any) -> int | None:
    """The status code in an answer to an API, or None."""
    status = result.get("statusCode") if isinstance(result, Mapping) else None
    return status if isinstance(status, int) and not isinstance(status, bool) else None


def lambda_resource() -> Resource:
    """
    What is known of this function and its environment, for a `TracerProvider`.

    It has the attributes of OpenTelemetry's conventions for ``cloud`` and ``faas``; merge it with
    one of your own for ``service.name``, or set ``OTEL_SERVICE_NAME``. `faas.instance` tells the
    processes of one environment apart.

    Thread safety: from any thread.
    """
    from opentelemetry.sdk.resources import Resource

    environ = os.environ
    memory_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    stream = environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
    attributes: dict[str, AttributeValue | None] = {
        "cloud.provider": "aws",
        "cloud.platform": "aws_lambda",
        "cloud.region": environ.get("AWS_REGION"),
        "faas.name": environ.get("AWS_LAMBDA_FUNCTION_NAME"),
        "faas.version": environ.get("AWS_LAMBDA_FUNCTION_VERSION"),
        "faas.instance": f"{stream}#{os.getpid()}",
        "faas.max_memory": int(memory_mb) * 1024 * 1024 if memory_mb.isdecimal() else None,
    }
    return Resource.create({name: value for name, value in attributes.items() if value})


def _http_attributes(event: Mapping[str, Any]) -> dict[str, AttributeValue]:
    route = event.get("resource") or event.get("routeKey")
    attributes: dict[str, AttributeValue] = {"http.request.method": str(_method(event))}
    if isinstance(route, str) and route != "$default":
        attributes["http.route"] = route.rpartition(" ")[2]
    return attributes


def _method(event: Mapping[str, Any]) -> str | None:
    """The HTTP method, where the event is a request to an API, a load balancer or a URL."""
    found = event.get("httpMethod")
    if found is None:
        context = event.get("requestContext")
        http = context.get("http") if isinstance(context, Mapping) else None
        found = http.get("method") if isinstance(http, Mapping) else None
    return found if isinstance(found, str) else None
