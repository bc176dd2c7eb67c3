"""Requests: API Gateway (REST and HTTP APIs), load balancers, function URLs."""

from __future__ import annotations

import base64
import json
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from lmi_runtime.stress.events.parts import (
    ACCOUNT,
    BODIES,
    NAMES,
    NUMBERS,
    REGION,
    SLUGS,
    Given,
    epoch_ms,
    epoch_s,
    strategy,
    uuid_of,
)

__all__ = ["alb", "apigw_v1", "apigw_v2", "function_url"]

_BODILESS = {"GET", "HEAD", "OPTIONS", "DELETE"}
_METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"])
_SEGMENTS = SLUGS.filter(bool)
_PATHS = st.lists(_SEGMENTS, max_size=2).map(lambda segments: "/" + "/".join(segments))
_PRINTABLE = st.text(string.ascii_letters + string.digits + " !#&'()*+,-./:;=?@_~", max_size=12)
# What HTTP does not do to header values: begin or end with a space.
_HEADERS = st.dictionaries(NAMES.map("x-{}".format), _PRINTABLE.map(str.strip), max_size=2)
_QUERIES = st.dictionaries(NAMES, _PRINTABLE, max_size=2)
_USER_AGENT = "curl/8.5.0"
_ADDRESS = "192.0.2.1"
_PLACEHOLDER = re.compile(r"\{(?P<name>[^{}+]+)\+?\}")


@dataclass(frozen=True, slots=True)
class _Request:
    """What all four sources say in their own words. Header names are in lower case."""

    number: int
    method: str
    resource: str
    path: str
    path_parameters: Mapping[str, str]
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: str | None
    is_base64: bool


def _encoded(payload: object) -> tuple[str | None, bool, str | None]:
    """The body as it stands in an event, whether in base64, and its content type."""
    if payload is None or payload == "":
        return None, False, None
    if isinstance(payload, bytes):
        return base64.b64encode(payload).decode(), True, "application/octet-stream"
    if isinstance(payload, str):
        return payload, False, "text/plain"
    return json.dumps(payload), False, "application/json"


def _requests(
    method: Given[str],
    path: Given[str],
    headers: Given[dict[str, str]],
    query: Given[dict[str, str]],
    body: Given[Any],
) -> SearchStrategy[_Request]:
    methods, paths, bodies = strategy(method), strategy(path), strategy(body)
    all_headers, queries = strategy(headers), strategy(query)

    @st.composite
    def one(draw: Callable[[SearchStrategy[Any]], Any]) -> _Request:
        number = next(draw(NUMBERS))
        verb, resource = draw(methods).upper(), draw(paths)
        filled = {name: draw(_SEGMENTS) for name in _PLACEHOLDER.findall(resource)}
        # The default body is for methods that have one; a body that was asked for is sent.
        payload = None if body is BODIES and verb in _BODILESS else draw(bodies)
        text, is_base64, content_type = _encoded(payload)
        sent = {"host": f"api.{REGION}.example.com", "user-agent": _USER_AGENT}
        if content_type:
            sent["content-type"] = content_type
        sent |= {name.lower(): value for name, value in draw(all_headers).items()}
        return _Request(
            number=number,
            method=verb,
            resource=resource,
            path=_PLACEHOLDER.sub(lambda match: filled[match["name"]], resource),
            path_parameters=filled,
            headers=sent,
            query=draw(queries),
            body=text,
            is_base64=is_base64,
        )

    return one()


def apigw_v1(
    *,
    method: Given[str] = _METHODS,
    path: Given[str] = _PATHS,
    headers: Given[dict[str, str]] = _HEADERS,
    query: Given[dict[str, str]] = _QUERIES,
    body: Given[Any] = BODIES,
    stage: str = "prod",
    claims: Given[dict[str, Any]] | None = None,
) -> SearchStrategy[dict[str, Any]]:
    """
    Draw events of an API Gateway REST API (Lambda proxy integration).

    Args:
        method: The HTTP method.
        path: The path; ``{name}`` in it is filled and becomes a path parameter.
        headers: Headers besides host, user agent and content type.
        query: Query parameters.
        body: Text is sent as it is, bytes in base64, None not at all, anything else as JSON.
            The default sends none with GET, HEAD, OPTIONS and DELETE.
        stage: Name of the deployed stage.
        claims: What a Cognito authorizer found in the token.
    """
    requests = _requests(method, path, headers, query, body)
    return st.builds(partial(_as_v1, stage), requests, strategy(claims))


def _as_v1(stage: str, request: _Request, claims: Mapping[str, Any] | None) -> dict[str, Any]:
    headers = {name.title(): value for name, value in request.headers.items()}
    context = {
        "accountId": ACCOUNT,
        "apiId": "api1234567",
        "httpMethod": request.method,
        "identity": {"sourceIp": _ADDRESS, "userAgent": request.headers["user-agent"]},
        "path": f"/{stage}{request.path}",
        "protocol": "HTTP/1.1",
        "requestId": uuid_of(request.number),
        "requestTime": _common_log_time(request.number),
        "requestTimeEpoch": epoch_ms(request.number),
        "resourceId": "res123",
        "resourcePath": request.resource,
        "stage": stage,
    }
    if claims is not None:
        context["authorizer"] = {"claims": claims}
    return {
        "resource": request.resource,
        "path": request.path,
        "httpMethod": request.method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": dict(request.query) or None,
        "multiValueQueryStringParameters": {k: [v] for k, v in request.query.items()} or None,
        "pathParameters": dict(request.path_parameters) or None,
        "stageVariables": None,
        "requestContext": context,
        "body": request.body,
        "isBase64Encoded": request.is_base64,
    }


def apigw_v2(
    *,
    method: Given[str] = _METHODS,
    path: Given[str] = _PATHS,
    headers: Given[dict[str, str]] = _HEADERS,
    query: Given[dict[str, str]] = _QUERIES,
    body: Given[Any] = BODIES,
    stage: str = "$default",
    claims: Given[dict[str, Any]] | None = None,
) -> SearchStrategy[dict[str, Any]]:
    """
    Draw events of an API Gateway HTTP API (payload format 2.0).

    Args:
        method: The HTTP method.
        path: The path; ``{name}`` in it is filled and becomes a path parameter.
        headers: Headers besides host, user agent and content type.
        query: Query parameters.
        body: Text is sent as it is, bytes in base64, None not at all, anything else as JSON.
            The default sends none with GET, HEAD, OPTIONS and DELETE.
        stage: Name of the deployed stage.
        claims: What a JWT authorizer found in the token.
    """
    requests = _requests(method, path, headers, query, body)
    return st.builds(partial(_as_v2, stage, "api1234567"), requests, strategy(claims))


def function_url(
    *,
    method: Given[str] = _METHODS,
    path: Given[str] = _PATHS,
    headers: Given[dict[str, str]] = _HEADERS,
    query: Given[dict[str, str]] = _QUERIES,
    body: Given[Any] = BODIES,
) -> SearchStrategy[dict[str, Any]]:
    """
    Draw events of a function URL without authentication.

    Args:
        method: The HTTP method.
        path: The path; ``{name}`` in it is filled.
        headers: Headers besides host, user agent and content type.
        query: Query parameters.
        body: Text is sent as it is, bytes in base64, None not at all, anything else as JSON.
            The default sends none with GET, HEAD, OPTIONS and DELETE.
    """
    return _requests(method, path, headers, query, body).map(_as_function_url)


def _as_function_url(request: _Request) -> dict[str, Any]:
    event = _as_v2("$default", "url1234567", request, None)
    event.pop("pathParameters", None)
    event["routeKey"] = "$default"
    event["requestContext"] |= {
        "accountId": "anonymous",
        "domainName": f"url1234567.lambda-url.{REGION}.on.aws",
        "routeKey": "$default",
    }
    return event


def _as_v2(
    stage: str, api: str, request: _Request, claims: Mapping[str, Any] | None
) -> dict[str, Any]:
    route = f"{request.method} {request.resource}"
    prefix = "" if stage == "$default" else f"/{stage}"
    context = {
        "accountId": ACCOUNT,
        "apiId": api,
        "domainName": f"{api}.execute-api.{REGION}.amazonaws.com",
        "domainPrefix": api,
        "http": {
            "method": request.method,
            "path": prefix + request.path,
            "protocol": "HTTP/1.1",
            "sourceIp": _ADDRESS,
            "userAgent": request.headers["user-agent"],
        },
        "requestId": uuid_of(request.number),
        "routeKey": route,
        "stage": stage,
        "time": _common_log_time(request.number),
        "timeEpoch": epoch_ms(request.number),
    }
    if claims is not None:
        context["authorizer"] = {"jwt": {"claims": claims, "scopes": None}}
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route,
        "rawPath": prefix + request.path,
        "rawQueryString": urlencode(request.query),
        "headers": dict(request.headers),
        "requestContext": context,
        "isBase64Encoded": request.is_base64,
    }
    # The service leaves out what there is none of.
    event |= {"queryStringParameters": dict(request.query)} if request.query else {}
    event |= {"pathParameters": request.path_parameters} if request.path_parameters else {}
    event |= {"body": request.body} if request.body is not None else {}
    return event


def alb(
    *,
    method: Given[str] = _METHODS,
    path: Given[str] = _PATHS,
    headers: Given[dict[str, str]] = _HEADERS,
    query: Given[dict[str, str]] = _QUERIES,
    body: Given[Any] = BODIES,
) -> SearchStrategy[dict[str, Any]]:
    """
    Draw events of an Application Load Balancer.

    Args:
        method: The HTTP method.
        path: The path; ``{name}`` in it is filled.
        headers: Headers besides host, user agent and content type.
        query: Query parameters; the balancer passes their values on percent-encoded.
        body: Text is sent as it is, bytes in base64, None as an empty body, anything else as
            JSON. The default sends none with GET, HEAD, OPTIONS and DELETE.
    """
    return _requests(method, path, headers, query, body).map(_as_alb)


def _as_alb(request: _Request) -> dict[str, Any]:
    group = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/lambda/0123456789abcdef"
    trace = f"Root=1-{epoch_s(request.number):08x}-{request.number:024x}"
    return {
        "requestContext": {"elb": {"targetGroupArn": group}},
        "httpMethod": request.method,
        "path": request.path,
        "queryStringParameters": {k: quote(v, safe="") for k, v in request.query.items()},
        "headers": {**request.headers, "x-amzn-trace-id": trace, "x-forwarded-for": _ADDRESS},
        "body": request.body or "",
        "isBase64Encoded": request.is_base64,
    }


def _common_log_time(number: int) -> str:
    return f"{datetime.fromtimestamp(epoch_s(number), UTC):%d/%b/%Y:%H:%M:%S %z}"
