"""Events of every service that powertools' event handlers resolve, with what tests put in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

__all__ = ["EVENTS", "http_event"]

Event = dict[str, Any]


def http_event(
    path: str, *, method: str = "GET", body: object = None, **headers: str
) -> dict[str, Any]:
    """An event of an HTTP API (payload version 2.0)."""
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {name.replace("_", "-"): value for name, value in headers.items()},
        "requestContext": {"stage": "$default", "http": {"method": method, "path": path}},
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def _rest(path: str) -> Event:
    return {
        "path": path,
        "httpMethod": "GET",
        "headers": {},
        "multiValueHeaders": {},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "requestContext": {"stage": "prod", "path": path, "httpMethod": "GET"},
        "body": None,
        "isBase64Encoded": False,
    }


def _alb(path: str) -> Event:
    return {
        "path": path,
        "httpMethod": "GET",
        "headers": {},
        "queryStringParameters": {},
        "requestContext": {"elb": {"targetGroupArn": "arn"}},
        "body": "",
        "isBase64Encoded": False,
    }


def _lattice(path: str) -> Event:
    return {
        "raw_path": path,
        "method": "GET",
        "headers": {},
        "query_string_parameters": {},
        "body": "",
        "is_base64_encoded": False,
    }


def _lattice_v2(path: str) -> Event:
    return {
        "version": "2.0",
        "path": path,
        "method": "GET",
        "headers": {},
        "queryStringParameters": {},
        "body": "",
        "isBase64Encoded": False,
        "requestContext": {},
    }


EVENTS: dict[str, Callable[[str], Event]] = {
    "ALBResolver": _alb,
    "APIGatewayHttpResolver": http_event,
    "APIGatewayRestResolver": _rest,
    "LambdaFunctionUrlResolver": http_event,
    "VPCLatticeResolver": _lattice,
    "VPCLatticeV2Resolver": _lattice_v2,
}
"""For each resolver of `aws_lambda_powertools.event_handler`: an event of a path."""
