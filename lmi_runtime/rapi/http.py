"""
HTTP/1.1 as the Runtime API needs it: responses in, requests out, no I/O.

The wire syntax is llhttp's business, through httptools. What is decided here is what llhttp
leaves to its caller: interim responses, what the end of the stream means, which of several
messages on one connection is the answer, and whether the connection may be used again.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote

import httptools

from lmi_runtime.errors import RuntimeApiError

__all__ = [
    "LAST_CHUNK",
    "Headers",
    "Response",
    "ResponseParser",
    "build_chunk",
    "build_last_chunk",
    "build_request",
    "header_text",
    "quote_id",
]

Headers = tuple[tuple[str, str], ...]

LAST_CHUNK = b"0\r\n\r\n"

_UNSAFE_IN_HEADERS = re.compile(r"[^\x20-\x7e]")
_PLAIN_ID = re.compile(r"[A-Za-z0-9_~-]+")


class Response(NamedTuple):
    """
    One complete response.

    Attributes:
        status: The status code.
        headers: Values by lower-case name; a header without a value is not in it.
        body: The whole body.
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class ResponseParser:
    """
    Turns the bytes of one connection into responses, one at a time.

    Thread safety: none; it belongs to one connection.

    Attributes:
        started: True once a byte of the current response has been seen.
        reusable: False once another request on this connection makes no sense.
    """

    def __init__(self) -> None:
        self.started = False
        self.reusable = True
        self._headers: dict[bytes, bytes] = {}
        # What llhttp reports, as it was sent. It fills the two itself, for a function of ours
        # would be called a dozen times a response.
        self._fields: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self.on_header = self._fields.__setitem__
        self.on_body = self._body.append
        self._ends_with_the_stream = False
        self._complete: Response | None = None
        # Makes a cycle of two objects per connection; connections are few and live long.
        self._llhttp = httptools.HttpResponseParser(self)

    def feed(self, data: bytes | memoryview) -> Response | None:
        """
        Take the next bytes; return the response they complete, if they do.

        Raises:
            RuntimeApiError: The bytes are not HTTP. The connection is of no further use.
        """
        self.started = True
        try:
            self._llhttp.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self.reusable = False
            if self._complete is None:
                raise RuntimeApiError(f"The Runtime API sent what is not HTTP: {exc}") from exc
        return self._take()

    def feed_eof(self) -> Response | None:
        """
        The stream has ended; return the response that this completes, if it does.

        Returns None when no byte of a response had come.

        Raises:
            RuntimeApiError: The stream ended in the middle of a response.
        """
        self.reusable = False
        if not self.started:
            return None
        if not self._ends_with_the_stream:
            raise RuntimeApiError("The Runtime API hung up in the middle of a response.")
        self.on_message_complete()
        return self._take()

    def _take(self) -> Response | None:
        response = self._complete
        if response is not None:
            self._complete = None
            self.started = False
        return response

    # Called by llhttp.

    def on_message_begin(self) -> None:
        if self._complete is not None:
            # A second response nobody asked for. Pairing it with the next request would hand
            # every later answer to the wrong question.
            self.reusable = False
        self._fields.clear()
        self._body.clear()
        self._ends_with_the_stream = False

    def on_headers_complete(self) -> None:
        # Taken now: what is reported later is a trailer, which may not pose as a header.
        self._headers = {name.lower(): value for name, value in self._fields.items() if value}
        # llhttp has no call for the end of the stream, and calls a body that runs until then
        # merely "not keep-alive"; only the headers tell it from a truncated one.
        self._ends_with_the_stream = (
            not self._llhttp.should_keep_alive()
            and b"content-length" not in self._headers
            and not self._headers.get(b"transfer-encoding", b"").lower().endswith(b"chunked")
        )

    def on_message_complete(self) -> None:
        status = self._llhttp.get_status_code()
        if status < 200 or self._complete is not None:
            return
        if not self._llhttp.should_keep_alive():
            self.reusable = False
        body = self._body
        whole = body[0] if len(body) == 1 else b"".join(body)
        # Not kept until the next response: on a poll that may be hours and megabytes.
        body.clear()
        self._complete = Response(status, self._headers, whole)


def build_request(
    method: str, path: str, host: str, headers: Headers = (), body: bytes | None = None
) -> bytes:
    """
    Build a whole request.

    Header and body are one object, so that a small answer is one system call and one packet.

    Args:
        method: Such as ``GET``.
        path: Already percent-encoded.
        host: ``host:port``.
        headers: Already safe, see `header_text`.
        body: None leaves out ``Content-Length``: there is no body, or it is sent in chunks.
    """
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{_lines(headers)}"
    if body is None:
        return f"{head}\r\n".encode("latin-1")
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body


def build_chunk(data: bytes) -> bytes:
    """Build one chunk of a chunked body; `data` is not empty, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def build_last_chunk(trailers: Headers) -> bytes:
    """Build the end of a chunked body, with trailers."""
    return f"0\r\n{_lines(trailers)}\r\n".encode("latin-1")


def _lines(headers: Headers) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in headers])


def header_text(text: str, *, limit: int = 1024) -> str:
    """
    Make any text a header value of at most `limit` characters.

    Whatever is not printable ASCII becomes ``_``: text from user code must not be able to end
    a header and begin another.
    """
    if not (text.isascii() and text.isprintable()):
        text = _UNSAFE_IN_HEADERS.sub("_", text)
    return text[:limit].strip()


def quote_id(request_id: str) -> str:
    """Percent-encode a request id for a path, and no more of it than Go's servers expect."""
    if _PLAIN_ID.fullmatch(request_id):
        return request_id
    # AWS's server takes an escape only where it would have escaped as well. Ids are decoded as
    # Latin-1, see `protocol`; encoded the same way they come back whole.
    return quote(request_id, safe="$&+,:;=@", encoding="latin-1", errors="replace")
