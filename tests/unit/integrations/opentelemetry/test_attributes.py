"""What a span and a resource say of an invocation."""

from __future__ import annotations

import os
from typing import Any

import pytest
from opentelemetry.trace import SpanKind

from lmi_runtime.context import Request
from lmi_runtime.integrations.opentelemetry import lambda_resource
from lmi_runtime.integrations.opentelemetry.attributes import (
    http_status_of,
    kind_of,
    span_attributes,
    trigger_of,
)
from lmi_runtime.model import Invocation

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:orders:live"

TRIGGERS: list[tuple[Any, str]] = [
    ({"httpMethod": "GET", "resource": "/orders/{id}"}, "http"),
    ({"requestContext": {"http": {"method": "POST"}}, "routeKey": "POST /orders"}, "http"),
    ({"requestContext": {"elb": {}}, "httpMethod": "GET"}, "http"),
    ({"Records": [{"eventSource": "aws:sqs"}]}, "pubsub"),
    ({"Records": [{"EventSource": "aws:sns"}]}, "pubsub"),
    ({"eventSource": "aws:kafka", "records": {}}, "pubsub"),
    ({"Records": [{"eventSource": "aws:s3"}]}, "datasource"),
    ({"Records": [{"eventSource": "aws:dynamodb"}]}, "datasource"),
    ({"source": "aws.events", "detail-type": "Scheduled Event"}, "timer"),
    ({"source": "my.app"}, "other"),
    ({"Records": []}, "other"),
    ({"Records": ["odd"]}, "other"),
    ({"requestContext": "odd", "httpMethod": 3}, "other"),
    (None, "other"),
    ("text", "other"),
]


@pytest.mark.parametrize(("event", "trigger"), TRIGGERS)
def test_the_trigger(event: Any, trigger: str) -> None:
    assert trigger_of(event) == trigger
    assert kind_of(trigger) is (SpanKind.CONSUMER if trigger == "pubsub" else SpanKind.SERVER)


def test_the_attributes_of_a_request() -> None:
    request = Request(Invocation(request_id="r-1", function_arn=ARN))
    event = {"requestContext": {"http": {"method": "POST"}}, "routeKey": "POST /orders"}
    assert span_attributes(request, event, trigger_of(event), is_cold=True) == {
        "aws.lambda.invoked_arn": ARN,
        "cloud.account.id": "123456789012",
        "cloud.resource_id": ARN.removesuffix(":live"),
        "faas.coldstart": True,
        "faas.invocation_id": "r-1",
        "faas.trigger": "http",
        "http.request.method": "POST",
        "http.route": "/orders",
    }


def test_a_request_that_knows_little_says_little() -> None:
    request = Request(Invocation(request_id="r-1", function_arn="odd"))
    assert span_attributes(request, None, trigger_of(None), is_cold=False) == {
        "aws.lambda.invoked_arn": "odd",
        "cloud.resource_id": "odd",
        "faas.coldstart": False,
        "faas.invocation_id": "r-1",
        "faas.trigger": "other",
    }


def test_a_catch_all_is_no_route() -> None:
    event = {"requestContext": {"http": {"method": "GET"}}, "routeKey": "$default"}
    assert "http.route" not in span_attributes(
        Request(Invocation(request_id="r")), event, trigger_of(event), is_cold=False
    )


@pytest.mark.parametrize(
    ("result", "status"),
    [({"statusCode": 503}, 503), ({"statusCode": "503"}, None), ({}, None), (None, None)],
)
def test_the_status_of_an_answer(result: Any, status: int | None) -> None:
    assert http_status_of(result) == status


def test_the_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "2048")
    monkeypatch.setenv("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_VERSION", raising=False)
    attributes = lambda_resource().attributes
    assert attributes["cloud.region"] == "eu-west-1"
    assert attributes["faas.name"] == "orders"
    assert attributes["faas.max_memory"] == 2048 * 1024 * 1024
    assert attributes["faas.instance"] == f"stream#{os.getpid()}"
    assert "faas.version" not in attributes
