"""The invoke API as AWS's own SDK uses it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import boto3
import botocore.config
import botocore.exceptions
import botocore.parsers
import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.emulator import Answer, Emulator, EmulatorOptions
from lmi_runtime.emulator.eventstream import encode_answer
from tests.unit.emulator.runtime_client import Client, Reply

pytestmark = pytest.mark.anyio


def lambda_client(emulator: Emulator) -> Any:
    return boto3.client(
        "lambda",
        endpoint_url=emulator.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=botocore.config.Config(
            retries={"total_max_attempts": 1}, read_timeout=10, connect_timeout=10, proxies={}
        ),
    )


async def call(
    emulator: Emulator,
    method: str,
    answer: Callable[[Client, Reply], Any] | None = None,
    **arguments: Any,
) -> tuple[Any, Reply | None]:
    """Call with boto3 in a thread and, if there is an *answer*, serve one event with it."""

    def work() -> Any:
        client = lambda_client(emulator)
        try:
            result = getattr(client, method)(FunctionName="function", **arguments)
            if "Payload" in result:
                result["Payload"] = result["Payload"].read()
            if "EventStream" in result:
                result["EventStream"] = list(result["EventStream"])
            return result
        finally:
            client.close()

    calling = asyncio.create_task(asyncio.to_thread(work))
    event = None
    if answer is not None:
        async with Client(emulator.runtime_api) as runtime:
            await runtime.poll()
            event = await runtime.receive()
            assert event is not None
            await answer(runtime, event)
            await runtime.receive()
    return await calling, event


async def respond(runtime: Client, event: Reply) -> None:
    await runtime.post("response", event, b'{"n":1}', Content_Type="application/json")


async def fail(runtime: Client, event: Reply) -> None:
    head = {"Lambda_Runtime_Function_Error_Type": "Function.ValueError"}
    await runtime.post("error", event, b'{"errorMessage":"boom"}', **head)


async def test_invoke_returns_the_payload() -> None:
    async with Emulator() as emulator:
        result, event = await call(emulator, "invoke", respond, Payload=b'{"a":1}')

        assert result["StatusCode"] == 200
        assert result["Payload"] == b'{"n":1}'
        assert result["ExecutedVersion"] == "$LATEST"
        assert "FunctionError" not in result
        assert event is not None and event.body == b'{"a":1}'


async def test_function_error_is_reported() -> None:
    async with Emulator() as emulator:
        result, _ = await call(emulator, "invoke", fail)

        assert (result["StatusCode"], result["FunctionError"]) == (200, "Unhandled")
        assert json.loads(result["Payload"]) == {"errorMessage": "boom"}


async def test_client_context_log_type_and_qualifier_are_understood() -> None:
    context = base64.b64encode(b'{"custom":{"k":"v"}}').decode()
    async with Emulator() as emulator:
        _, event = await call(
            emulator, "invoke", respond, ClientContext=context, LogType="Tail", Qualifier="live"
        )

        assert event is not None
        assert event.headers["lambda-runtime-client-context"] == '{"custom":{"k":"v"}}'


async def test_event_invocation_is_accepted_before_it_runs() -> None:
    async with Emulator() as emulator, Client(emulator.runtime_api) as runtime:
        await runtime.poll()
        await emulator.wait_ready()
        result, _ = await call(emulator, "invoke", InvocationType="Event", Payload=b'{"later":1}')
        event = await runtime.receive()

        assert (result["StatusCode"], result["Payload"]) == (202, b"")
        assert event is not None and event.body == b'{"later":1}'
        await runtime.post("response", event)
        assert (await runtime.receive()).status == 202  # type: ignore[union-attr]


async def test_dry_run_runs_nothing() -> None:
    async with Emulator() as emulator:
        result, _ = await call(emulator, "invoke", InvocationType="DryRun")

        assert result["StatusCode"] == 204
        assert emulator.statistics().invoked == 0


@pytest.mark.parametrize(
    ("status", "code"), [(400, "Runtime.Unavailable"), (429, "TooManyRequestsException")]
)
async def test_refusal_is_an_error_of_the_sdk(status: int, code: str) -> None:
    async with (
        Emulator(EmulatorOptions(throttle_status=status)) as emulator,
        Client(emulator.runtime_api) as runtime,
    ):
        await runtime.poll()
        await emulator.wait_ready()
        running = asyncio.create_task(emulator.invoke(b"{}"))
        await runtime.receive()
        with pytest.raises(botocore.exceptions.ClientError) as raised:
            await call(emulator, "invoke")

        assert raised.value.response["Error"]["Code"] == code
        assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
        running.cancel()


async def test_throttling_has_the_class_that_code_catches() -> None:
    options = EmulatorOptions(throttle_status=429)
    async with Emulator(options) as emulator, Client(emulator.runtime_api) as runtime:
        await runtime.poll()
        await emulator.wait_ready()
        running = asyncio.create_task(emulator.invoke(b"{}"))
        await runtime.receive()
        client = lambda_client(emulator)
        with pytest.raises(client.exceptions.TooManyRequestsException):
            await asyncio.to_thread(client.invoke, FunctionName="function")
        client.close()
        running.cancel()


@pytest.mark.parametrize(
    "name", ["mine", "mine:live", "arn:aws:lambda:us-east-1:012345678912:function:mine", "function"]
)
async def test_function_has_its_name_and_its_arn(name: str) -> None:
    async with Emulator(EmulatorOptions(function_name="mine")) as emulator:
        client = lambda_client(emulator)
        result = await asyncio.to_thread(client.invoke, FunctionName=name, InvocationType="DryRun")
        client.close()

        assert result["StatusCode"] == 204


async def test_other_functions_do_not_exist() -> None:
    async with Emulator(EmulatorOptions(function_name="mine")) as emulator:
        client = lambda_client(emulator)
        with pytest.raises(client.exceptions.ResourceNotFoundException, match="other"):
            await asyncio.to_thread(client.invoke, FunctionName="other")
        client.close()


async def test_streaming_invocation_yields_chunks_and_the_end() -> None:
    async def answer(runtime: Client, event: Reply) -> None:
        await runtime.post("response", event, b"x" * 100_000)

    async with Emulator() as emulator:
        result, _ = await call(emulator, "invoke_with_response_stream", answer)
        *chunks, end = result["EventStream"]

        assert b"".join(c["PayloadChunk"]["Payload"] for c in chunks) == b"x" * 100_000
        assert len(chunks) == 2
        assert end == {"InvokeComplete": {}}


async def test_streaming_invocation_ends_with_the_error() -> None:
    async with Emulator() as emulator:
        result, _ = await call(emulator, "invoke_with_response_stream", fail)

        [end] = result["EventStream"]
        assert end["InvokeComplete"]["ErrorCode"] == "Function.ValueError"
        assert end["InvokeComplete"]["ErrorDetails"] == '{"errorMessage":"boom"}'


@given(st.binary(max_size=150_000))
def test_frames_are_what_the_sdk_reads(body: bytes) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(encode_answer(Answer(200, body)))
    *chunks, end = list(buffer)

    assert b"".join(chunk.payload for chunk in chunks) == body
    assert end.headers[":event-type"] == "InvokeComplete"
