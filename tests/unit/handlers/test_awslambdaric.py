"""AWS's own runtime calls what `@handler` made, in process."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from awslambdaric import bootstrap
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller

from lmi_runtime.context import current, peek
from lmi_runtime.handlers import handler


class Client:
    """Keeps what awslambdaric's client would post."""

    marshaller = LambdaMarshaller()

    def __init__(self) -> None:
        self.result: Any = None
        self.content_type: str | None = None
        self.error: dict[str, Any] | None = None

    def post_invocation_result(
        self, invoke_id: str, result: Any, content_type: str, invocation_id: str | None
    ) -> None:
        self.result, self.content_type = result, content_type

    def post_invocation_error(
        self, invoke_id: str, error: str, cause: str, invocation_id: str | None
    ) -> None:
        self.error = json.loads(error)


def invoke(function: Any, event: Any = None, remaining_s: float = 60) -> Client:
    client = Client()
    bootstrap.handle_event_request(
        client,
        function,
        "id-1",
        json.dumps(event or {}).encode(),
        "application/json",
        json.dumps({"custom": {"k": "v"}}),
        json.dumps({"cognitoIdentityId": "c"}),
        "arn:f",
        int((time.time() + remaining_s) * 1000),
        "tenant",
        SimpleNamespace(log_error=lambda lines: None),
        "inv-1",
    )
    return client


def test_async_handler_is_served() -> None:
    @handler
    async def function(event: Any, context: Any) -> Any:
        await asyncio.sleep(0)
        request = current()
        assert request.lambda_context is context
        assert request.client_context is not None
        return {
            "event": event,
            "id": request.request_id,
            "tenant": request.tenant_id,
            "custom": request.client_context.custom,
            "identity": request.cognito_identity.cognito_identity_id,
            "in time": 0 < request.remaining_s() <= 60,
        }

    client = invoke(function, {"a": "é"})

    assert client.error is None
    assert client.content_type == "application/json"
    assert json.loads(client.result) == {
        "event": {"a": "é"},
        "id": "id-1",
        "tenant": "tenant",
        "custom": {"k": "v"},
        "identity": "c",
        "in time": True,
    }
    assert peek() is None


def test_stream_arrives_in_one_piece() -> None:
    @handler
    async def function(event: Any) -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    client = invoke(function)
    assert (client.result, client.content_type) == (b"ab", "application/unknown")


@pytest.mark.parametrize(
    ("raised", "error_type"),
    [(KeyError("x"), "KeyError"), (asyncio.CancelledError(), "CancelledError")],
    ids=["error", "cancelled"],
)
def test_failure_is_an_error_answer(raised: BaseException, error_type: str) -> None:
    @handler
    async def function(event: Any) -> None:
        raise raised

    client = invoke(function)
    assert client.error is not None
    assert client.error["errorType"] == error_type
    assert client.result is None


def test_deadline_is_an_error_answer() -> None:
    @handler(deadline_margin_s=30)
    async def function(event: Any) -> None:
        await asyncio.sleep(3600)

    client = invoke(function, remaining_s=20)
    assert client.error is not None
    assert client.error["errorType"] == "DeadlineExceeded"
