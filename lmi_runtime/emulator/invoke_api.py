"""The caller's side: `Invoke` and `InvokeWithResponseStream` of the Lambda API."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from urllib.parse import unquote_to_bytes

from lmi_runtime import _sync
from lmi_runtime.emulator.answers import Answer
from lmi_runtime.emulator.encoding import header_line
from lmi_runtime.emulator.eventstream import encode_answer
from lmi_runtime.emulator.facts import Invocation, InvokeRequest
from lmi_runtime.emulator.host import Host
from lmi_runtime.emulator.http import Endpoint, Exchange
from lmi_runtime.emulator.options import EmulatorOptions
from lmi_runtime.emulator.runtime_api import NOT_FOUND, WRONG_METHOD

_INVOKE = (b"/2015-03-31/functions/", b"/invocations")
_STREAM = (b"/2021-11-15/functions/", b"/response-streaming-invocations")
_JSON = b"Content-Type: application/json\r\n"


def build_request(
    event: bytes, headers: Mapping[str, str], options: EmulatorOptions, *, broken: bool = False
) -> InvokeRequest:
    """
    Read what a caller said.

    Args:
        event: Body of the call.
        headers: Headers of the call, names in lower case.
        options: What is made up where the caller says nothing.
        broken: The upload ended early.
    """
    return InvokeRequest(
        event=event,
        request_id=headers.get("x-amzn-requestid") or str(uuid.uuid4()),
        content_type=_content_type(headers.get("content-type", "")),
        trace_id=headers.get("x-amzn-trace-id") or (_a_trace() if options.make_up_traces else ""),
        client_context=_decode_context(headers.get("x-amz-client-context", "")),
        cognito_identity=headers.get("x-amz-cognito-identity", ""),
        broken=broken,
    )


def _content_type(said: str) -> str:
    # `curl -d` says the latter of whatever it sends, and no caller of the service sends a form.
    return "application/json" if said in ("", "application/x-www-form-urlencoded") else said


def _a_trace() -> str:
    root = f"1-{int(_sync.wall_time()):08x}-{secrets.token_hex(12)}"
    return f"Root={root};Parent={secrets.token_hex(8)};Sampled=0"


def _decode_context(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8", "surrogateescape")
    except binascii.Error:
        return encoded


class InvokeEndpoint(Endpoint):
    """
    POST functions/{name}/invocations.

    Thread safety: loop thread only.
    """

    def __init__(self, host: Host, options: EmulatorOptions) -> None:
        self._host = host
        self._options = options
        self._version_line = header_line("X-Amz-Executed-Version", options.function_version)

    def complete(self, exchange: Exchange) -> None:
        kind = exchange.header(b"x-amz-invocation-type")
        if kind == "DryRun":
            exchange.send(204, self._version_line)
            return
        request = self._request(exchange)
        if kind == "Event":
            exchange.send(202, self._version_line + _request_id_line(request))
            self._host.environment.invoke(request, _ignore)
        else:
            caller = partial(self._answer, exchange, request)
            exchange.context = self._host.environment.invoke(request, caller)
        self._host.flush()

    def truncated(self, exchange: Exchange) -> None:
        request = self._request(exchange, broken=True)
        caller = partial(self._answer, exchange, request)
        self._host.environment.invoke(request, caller)
        self._host.flush()

    def abandoned(self, exchange: Exchange) -> None:
        if isinstance(exchange.context, Invocation):
            self._host.environment.caller_gone(exchange.context)
            self._host.flush()

    def _request(self, exchange: Exchange, *, broken: bool = False) -> InvokeRequest:
        headers = {
            name.decode("latin-1"): value.decode("utf-8", "surrogateescape")
            for name, value in exchange.headers.items()
        }
        return build_request(exchange.body(), headers, self._options, broken=broken)

    def _answer(self, exchange: Exchange, request: InvokeRequest, answer: Answer) -> None:
        head = self._version_line + _request_id_line(request) + _answer_head(answer)
        exchange.send(answer.status, head, answer.body)


class StreamEndpoint(InvokeEndpoint):
    """POST functions/{name}/response-streaming-invocations."""

    def _answer(self, exchange: Exchange, request: InvokeRequest, answer: Answer) -> None:
        if answer.status != 200:
            super()._answer(exchange, request, answer)
            return
        head = self._version_line + _request_id_line(request)
        head += b"Content-Type: application/vnd.amazon.eventstream\r\n"
        head += header_line("X-Amzn-Remapped-Content-Type", answer.content_type)
        exchange.send(200, head, encode_answer(answer), chunked=True)


def _ignore(answer: Answer) -> None:
    """The caller of an `Event` invocation has left with its 202."""


def _request_id_line(request: InvokeRequest) -> bytes:
    return header_line("X-Amzn-RequestId", request.request_id)


def _answer_head(answer: Answer) -> bytes:
    head = header_line("Content-Type", answer.content_type)
    if answer.error_type is None:
        mode = b"Lambda-Runtime-Function-Response-Mode: %b\r\n" % answer.response_mode.encode()
        return head + mode
    head += header_line("Error-Type", answer.error_type)
    if answer.status == 200:
        return head + b"X-Amz-Function-Error: Unhandled\r\n"
    # The code botocore raises; it has a class of its own only for the service's word.
    code = "TooManyRequestsException" if answer.status == 429 else answer.error_type
    return head + header_line("X-Amzn-ErrorType", code)


class NoSuchFunction(Endpoint):
    """Any invoke path that names another function."""

    def complete(self, exchange: Exchange) -> None:
        name = unquote_to_bytes(exchange.path.split(b"/")[3]).decode("utf-8", "replace")
        facts = {"Type": "User", "Message": f"Function not found: {name}"}
        head = _JSON + b"X-Amzn-ErrorType: ResourceNotFoundException\r\n"
        exchange.send(404, head, json.dumps(facts).encode())


def invoke_router(host: Host, options: EmulatorOptions) -> Callable[[Exchange], Endpoint]:
    """Route of the invoke server."""
    endpoints = (
        (*_INVOKE, InvokeEndpoint(host, options)),
        (*_STREAM, StreamEndpoint(host, options)),
    )
    missing = NoSuchFunction()
    names = {options.function_name, "function", options.function_arn}

    def route(exchange: Exchange) -> Endpoint:
        for prefix, suffix, endpoint in endpoints:
            if exchange.path.startswith(prefix) and exchange.path.endswith(suffix):
                if exchange.method != b"POST":
                    return WRONG_METHOD
                raw = exchange.path[len(prefix) : -len(suffix)]
                known = _is_function(unquote_to_bytes(raw).decode("utf-8", "replace"), names)
                return endpoint if known else missing
        return NOT_FOUND

    return route


def _is_function(asked: str, names: set[str]) -> bool:
    """Whether *asked*, which may carry a qualifier, is one of *names*."""
    return asked in names or asked.rpartition(":")[0] in names
