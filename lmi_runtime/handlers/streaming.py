"""Responses that are sent while they are made: from a generator's items to chunks of bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmi_runtime.errors import ConfigurationError, MarshalError

__all__ = ["HTTP_STREAM", "OCTETS", "HttpHead", "chunk_of", "joined"]

OCTETS = "application/octet-stream"
"""Content type of a stream that begins without an `HttpHead`."""

HTTP_STREAM = "application/vnd.awslambda.http-integration-response"
"""Content type of a stream whose status and headers come first, for a function URL."""

_END_OF_HEAD = bytes(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpHead:
    """
    Status and headers of a streamed HTTP response. Yield it first, then the body:

        @handler
        async def page(event, context):
            yield HttpHead(status=200, headers={"content-type": "text/html"})
            yield "<p>at once</p>"

    Attributes:
        status: HTTP status, 100 to 599.
        headers: Header names and values.
        cookies: Values of ``set-cookie``, one each.

    Raises:
        ConfigurationError: A value is not of its kind.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.status, bool) or not isinstance(self.status, int):
            raise ConfigurationError(f"HttpHead(status={self.status!r}) is not a whole number.")
        if not 100 <= self.status <= 599:
            raise ConfigurationError(f"HttpHead(status={self.status}) is not an HTTP status.")
        texts = (*self.headers.keys(), *self.headers.values(), *self.cookies)
        if isinstance(self.cookies, str) or not all(isinstance(text, str) for text in texts):
            raise ConfigurationError("HttpHead takes text only in `headers` and `cookies`.")

    def fields(self) -> dict[str, Any]:
        """The head as Lambda's HTTP integrations spell it."""
        fields: dict[str, Any] = {"statusCode": self.status, "headers": dict(self.headers)}
        if self.cookies:
            fields["cookies"] = list(self.cookies)
        return fields

    def prelude(self) -> bytes:
        """The bytes that go before the body: JSON, then eight NULs."""
        return json.dumps(self.fields()).encode("ascii") + _END_OF_HEAD


def chunk_of(item: object) -> bytes:
    """
    Return what to send for one item of a stream.

    Raises:
        MarshalError: It is neither bytes nor text.
    """
    if isinstance(item, bytes):
        return item
    if isinstance(item, str):
        try:
            return item.encode()
        except UnicodeEncodeError as exc:
            raise MarshalError(f"Unable to marshal response: {exc}") from exc
    if isinstance(item, (bytearray, memoryview)):
        return bytes(item)
    if isinstance(item, HttpHead):
        raise MarshalError("Unable to marshal response: HttpHead has to be yielded first, once.")
    raise MarshalError(
        "Unable to marshal response: a streaming handler yields bytes or str, "
        f"not {type(item).__name__}"
    )


def joined(items: Iterable[object]) -> bytes | dict[str, Any]:
    """
    Make a whole response of a stream's items, for runtimes that cannot stream.

    Returns:
        The bytes; behind an `HttpHead`, the dict that a function URL and API Gateway take.
    """
    waiting = iter(items)
    first = next(waiting, b"")
    if not isinstance(first, HttpHead):
        return b"".join([chunk_of(first), *map(chunk_of, waiting)])
    body = b"".join(map(chunk_of, waiting))
    try:
        text, encoded = body.decode(), False
    except UnicodeDecodeError:
        text, encoded = base64.b64encode(body).decode("ascii"), True
    return {**first.fields(), "body": text, "isBase64Encoded": encoded}
