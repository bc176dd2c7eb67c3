"""Give each invocation's event tokens of its own, so that they can be told apart later."""

from __future__ import annotations

import base64
import binascii
import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from lmi_runtime.stress.events.leaves import UUID, Leaves
from lmi_runtime.stress.oracles.canary import Tokens

__all__ = ["mark"]


def mark(
    event: Any,
    tokens: Tokens,
    *,
    level: int = 2,
    valid: Callable[[Any], bool] | None = None,
) -> Any:
    """
    Return a copy of an event that carries an invocation's tokens.

    Marked are strings that say nothing about what is to be done: ids, user agents, trace headers,
    bodies and the values in them, attributes. What decides on the way through a handler stays:
    methods, paths, types, ARNs, numbers, dates. Base64 is marked inside. Still, a handler may look
    a string up in a table; step down a level when marking alone makes it fail.

    Args:
        event: An event of any source, or any JSON value. Is not changed.
        tokens: Of the invocation that will get the copy.
        level: 0: nothing. 1: ids, trace headers, user agents and values named like ``user`` or
            ``message``. 2: all that looks like free text.
        valid: Whether the handler would accept an event, as its schema says. The highest level
            up to `level` is taken at which the copy is valid.

    Raises:
        ValueError: There is no such level.
    """
    if level not in (0, 1, 2):
        raise ValueError(f"marking has the levels 0, 1 and 2, not {level!r}")
    for lower in range(level, 0, -1):
        marked = _Marker(Leaves(tokens, lower)).event(copy.deepcopy(event))
        if valid is None or valid(marked):
            return marked
    return copy.deepcopy(event)


@dataclass(frozen=True, slots=True)
class _Marker:
    """Changes events in place. Whatever is missing or of another type is left alone."""

    leaves: Leaves

    def event(self, event: Any) -> Any:
        """Mark by the rules of the source it looks like; else every leaf."""
        if not isinstance(event, dict):
            return self.leaves.document(event)
        rule = self._rule_for(event)
        if rule is None:
            return self.leaves.document(event)
        rule(event)
        return event

    def _rule_for(self, event: dict[str, Any]) -> Callable[[dict[str, Any]], None] | None:
        match event:
            case {"Records": [dict(), *_]}:
                return self._records
            case {"eventSource": "aws:kafka" | "SelfManagedKafka", "records": dict()}:
                return self._kafka
            case {"requestContext": dict()} if "httpMethod" in event or "rawPath" in event:
                return self._request
            case {"detail-type": str(), "detail": _}:
                return self._eventbridge
            case {"Type": "Notification", "Message": str()}:
                return self._notification
            case _:
                return None

    def _records(self, event: dict[str, Any]) -> None:
        rules = {
            "aws:sqs": self._sqs,
            "aws:sns": self._sns,
            "aws:s3": self._s3,
            "aws:kinesis": self._kinesis,
            "aws:dynamodb": self._dynamodb,
        }
        for index, record in enumerate(event["Records"]):
            rule = rules.get(_source_of(record))
            if rule is not None:
                rule(record)
            else:
                event["Records"][index] = self.leaves.document(record)

    def _request(self, event: dict[str, Any]) -> None:
        context = event["requestContext"]
        self._at(context, "requestId", self._id)
        for holder in (context.get("identity"), context.get("http")):
            self._at(holder, "userAgent", self._user_agent)
        for claims in _claims(context.get("authorizer")):
            claims |= self.leaves.document(claims)
        for headers in (event.get("headers"), event.get("multiValueHeaders")):
            self._headers(headers)
        self._query(event)
        if event.get("isBase64Encoded"):
            self._at(event, "body", self._in_base64)
        else:
            self._at(event, "body", self._body)

    def _headers(self, headers: Any) -> None:
        for name in headers if isinstance(headers, dict) else ():
            rule = self._header_rule(name.lower())
            if rule is None:
                continue
            if isinstance(headers[name], list):
                headers[name] = [rule(v) if isinstance(v, str) else v for v in headers[name]]
            else:
                self._at(headers, name, rule)

    def _header_rule(self, name: str) -> Callable[[str], str] | None:
        tokens = self.leaves.tokens
        match name:
            case "user-agent":
                return self._user_agent
            case "x-amzn-trace-id":
                return self._trace
            case "traceparent":
                return lambda _: tokens.traceparent
            case "x-api-key" | "x-http-method-override":
                return None
            case _ if name.startswith("x-") and not name.startswith(("x-amz", "x-forwarded")):
                return partial(self.leaves.leaf, name)
            case _:
                return None

    def _query(self, event: dict[str, Any]) -> None:
        # A load balancer passes values on percent-encoded; what is added needs no encoding.
        for key in ("queryStringParameters", "multiValueQueryStringParameters"):
            if isinstance(event.get(key), dict):
                event[key] = self.leaves.document(event[key])
        self._at(event, "rawQueryString", self.leaves.form)

    def _sqs(self, record: dict[str, Any]) -> None:
        self._at(record, "messageId", self._id)
        self._at(record.get("attributes"), "AWSTraceHeader", self._trace)
        self._at(record, "body", self._body)
        if isinstance(record.get("body"), str) and "md5OfBody" in record:
            data = record["body"].encode("utf-8", "surrogatepass")
            record["md5OfBody"] = hashlib.md5(data, usedforsecurity=False).hexdigest()
        self._attributes(record.get("messageAttributes"), "dataType", "stringValue")

    def _sns(self, record: dict[str, Any]) -> None:
        if isinstance(record.get("Sns"), dict):
            self._notification(record["Sns"])

    def _notification(self, notification: dict[str, Any]) -> None:
        self._at(notification, "MessageId", self._id)
        self._at(notification, "Subject", partial(self.leaves.leaf, "subject"))
        self._at(notification, "Message", self._body)
        self._attributes(notification.get("MessageAttributes"), "Type", "Value")

    def _attributes(self, attributes: Any, type_key: str, value_key: str) -> None:
        for name, attribute in attributes.items() if isinstance(attributes, dict) else ():
            if isinstance(attribute, dict) and attribute.get(type_key) == "String":
                self._at(attribute, value_key, partial(self.leaves.leaf, name))

    def _s3(self, record: dict[str, Any]) -> None:
        s3 = record.get("s3")
        if self.leaves.level == 2 and isinstance(s3, dict):
            self._at(s3.get("object"), "key", self._object_key)

    def _object_key(self, key: str) -> str:
        """In front of the suffix, which handlers look at, as they do at folders."""
        folder, slash, name = key.rpartition("/")
        stem, dot, suffix = name.rpartition(".")
        if not stem:
            stem, dot, suffix = name, "", ""
        return f"{folder}{slash}{stem}-{self.leaves.tokens.text}{dot}{suffix}" if name else key

    def _eventbridge(self, event: dict[str, Any]) -> None:
        self._at(event, "id", self._id)
        event["detail"] = self.leaves.document(event["detail"])

    def _kinesis(self, record: dict[str, Any]) -> None:
        kinesis = record.get("kinesis")
        self._at(kinesis, "data", self._in_base64)
        self._at(kinesis, "partitionKey", partial(self.leaves.leaf, "partitionKey"))

    def _dynamodb(self, record: dict[str, Any]) -> None:
        changed = record.get("dynamodb")
        for image in ("Keys", "NewImage", "OldImage"):
            if isinstance(changed, dict) and isinstance(changed.get(image), dict):
                items = changed[image].items()
                changed[image] = {k: self.leaves.attribute_value(v, k) for k, v in items}

    def _kafka(self, event: dict[str, Any]) -> None:
        partitions = [p for p in event["records"].values() if isinstance(p, list)]
        for record in (r for p in partitions for r in p if isinstance(r, dict)):
            self._at(record, "value", self._in_base64)
            self._at(record, "key", self._in_base64)
            headers = record.get("headers")
            for header in headers if isinstance(headers, list) else ():
                for name, numbers in header.items() if isinstance(header, dict) else ():
                    header[name] = self._kafka_header(name, numbers)

    def _kafka_header(self, name: str, numbers: Any) -> Any:
        try:
            text = bytes([*numbers]).decode()
        except (ValueError, TypeError):
            return numbers  # not text, or signed bytes that are none
        return list(self.leaves.leaf(name, text).encode())

    def _body(self, text: str) -> str:
        """A payload: an event in an event, JSON, a form, plain text."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            if _is_form(text):
                return self.leaves.form(text)
            return self.leaves.leaf("body", text)
        marked = self.event(copy.deepcopy(value))
        return text if marked == value else json.dumps(marked)

    def _in_base64(self, text: str) -> str:
        try:
            plain = base64.b64decode(text, validate=True).decode()
        except (binascii.Error, ValueError):
            return text  # something binary
        marked = self._body(plain)
        return text if marked == plain else base64.b64encode(marked.encode()).decode()

    def _id(self, text: str) -> str:
        return self.leaves.tokens.own_uuid(text) if UUID.fullmatch(text) else text

    def _user_agent(self, text: str) -> str:
        return f"{text} {self.leaves.tokens.text}".strip()

    def _trace(self, _: str) -> str:
        return self.leaves.tokens.trace_id

    @staticmethod
    def _at(holder: Any, key: str, rule: Callable[[str], str]) -> None:
        """Replace the string at `key`, if there is one."""
        if isinstance(holder, dict) and isinstance(holder.get(key), str):
            holder[key] = rule(holder[key])


def _source_of(record: Any) -> str:
    match record:
        case {"eventSource": str(source)} | {"EventSource": str(source)}:
            return source
        case _:
            return ""


def _claims(authorizer: Any) -> Iterator[dict[str, Any]]:
    """What authorizers know of the user, in the formats of both API kinds."""
    if isinstance(authorizer, dict):
        for holder in (authorizer, authorizer.get("jwt")):
            if isinstance(holder, dict) and isinstance(holder.get("claims"), dict):
                yield holder["claims"]


def _is_form(text: str) -> bool:
    return "=" in text and not any(char.isspace() for char in text)
