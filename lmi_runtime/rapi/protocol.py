"""
The Runtime API's meaning: responses to facts, answers to requests. No I/O, no clock, no log.

Everything the Runtime API can say is in the two tables, `_POLL_STEPS` and `_POST_VERDICTS`.
"""

from __future__ import annotations

import base64
import enum
import json
from bisect import bisect_right
from dataclasses import dataclass, replace

from lmi_runtime.model import (
    MAX_ERROR_BYTES,
    Failure,
    Invocation,
    PostResult,
    PostVerdict,
    Streaming,
    Success,
)
from lmi_runtime.rapi.http import (
    Headers,
    Response,
    build_last_chunk,
    build_request,
    header_text,
    quote_id,
)

__all__ = [
    "MAX_DEADLINE_AHEAD_S",
    "MAX_XRAY_CAUSE_BYTES",
    "Fault",
    "PollAgain",
    "Requests",
    "deadline_to_monotonic",
    "error_body",
    "failure_trailers",
    "oversized_response",
    "read_extension_id",
    "read_poll",
    "read_post",
    "without_details",
]

MAX_DEADLINE_AHEAD_S = 91 * 60
"""A deadline further ahead than any function may run, plus a minute of clock skew, in seconds."""

MAX_XRAY_CAUSE_BYTES = 64 * 1024
"""X-Ray causes of this many bytes or more are not sent."""

# The Runtime API is a Go server: it takes trailers of as much as its read buffer holds, the
# blank line included, and calls a response with longer ones truncated.
_MAX_TRAILERS_BYTES = 4096
_MAX_NAME_CHARACTERS = 1024
_MAX_ERROR_TYPE_CHARACTERS = 256
_MAX_DETAIL_CHARACTERS = 200

_RUNTIME = "/2018-06-01/runtime/"
_EXTENSION = "/2020-01-01/extension/"

_ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
_ERROR_BODY = "Lambda-Runtime-Function-Error-Body"
_INVOCATION_ID = "Lambda-Runtime-Invocation-Id"
_XRAY_CAUSE = "Lambda-Runtime-Function-XRay-Error-Cause"
_JSON = ("Content-Type", "application/json")

# Polls ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """The Runtime API answered a poll with no event; `detail` is for the log."""

    detail: str


class PollAgain(enum.Enum):
    """The Runtime API had nothing to say, which is no fault."""

    NOW = "now"


def read_poll(
    response: Response, *, wall_time_s: float, monotonic_s: float
) -> Invocation | PollAgain | Fault:
    """
    Read the answer to a poll.

    Args:
        response: The answer.
        wall_time_s: Seconds since the epoch on receipt.
        monotonic_s: The same moment on the monotonic clock, in seconds.
    """
    if response.status != 200:
        # Some other emulators end a poll with 204 when nothing happened for a while.
        return PollAgain.NOW if response.status == 204 else Fault(_detail(response))
    get = response.headers.get
    request_id = get(b"lambda-runtime-aws-request-id")
    if request_id is None:
        return Fault("200 without a request id")
    deadline_ms = _whole_number(get(b"lambda-runtime-deadline-ms"))
    return Invocation(
        request_id=request_id.decode("latin-1"),
        body=response.body,
        content_type=get(b"content-type", b"application/json").decode("latin-1"),
        invocation_id=_latin(get(b"lambda-runtime-invocation-id")),
        function_arn=_text(get(b"lambda-runtime-invoked-function-arn")),
        deadline_ms=deadline_ms,
        deadline_s=deadline_to_monotonic(
            deadline_ms, wall_time_s=wall_time_s, monotonic_s=monotonic_s
        ),
        trace_id=_text(get(b"lambda-runtime-trace-id")),
        client_context=_text(get(b"lambda-runtime-client-context")),
        cognito_identity=_text(get(b"lambda-runtime-cognito-identity")),
        tenant_id=_text(get(b"lambda-runtime-aws-tenant-id")),
    )


def deadline_to_monotonic(
    deadline_ms: int, *, wall_time_s: float, monotonic_s: float
) -> float | None:
    """
    Convert a deadline to the monotonic clock, in seconds.

    Returns None for no deadline (0) and for one further ahead than a function may run: AWS's
    emulator once sent deadlines of weeks. One in the past is kept; it is merely late.
    """
    ahead_s = deadline_ms / 1000 - wall_time_s
    if deadline_ms <= 0 or ahead_s > MAX_DEADLINE_AHEAD_S:
        return None
    return monotonic_s + ahead_s


def _latin(value: bytes | None) -> str | None:
    # Ids are echoed: Latin-1 keeps every byte.
    return None if value is None else value.decode("latin-1")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _whole_number(value: bytes | None) -> int:
    # isdigit() first: int() also takes signs, blanks and underscores, and the length bound
    # keeps a hostile number from overflowing the float it is divided into.
    return int(value) if value is not None and value.isdigit() and len(value) <= 18 else 0


# Answers -------------------------------------------------------------------------------------

_POST_VERDICTS = {
    (200, None): PostVerdict.ACCEPTED,
    (202, None): PostVerdict.ACCEPTED,
    (400, "InvalidRequestID"): PostVerdict.STALE,
    (410, None): PostVerdict.STALE,
    (413, None): PostVerdict.TOO_LARGE,
}

_ACCEPTED = PostResult(PostVerdict.ACCEPTED)


def read_post(response: Response) -> PostResult:
    """Read what the Runtime API said to an answer."""
    verdict = _POST_VERDICTS.get((response.status, None))
    if verdict is PostVerdict.ACCEPTED:
        return _ACCEPTED
    if verdict is None:
        error_type = _error_type_of(response)
        verdict = _POST_VERDICTS.get((response.status, error_type), PostVerdict.LOST)
    return PostResult(verdict, _detail(response))


def read_extension_id(response: Response) -> str | None:
    """Read the answer to an extension's registration; None when it was refused."""
    if response.status != 200:
        return None
    return _latin(response.headers.get(b"lambda-extension-identifier"))


def _error_type_of(response: Response) -> str:
    try:
        error_type = json.loads(response.body)["errorType"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return error_type if isinstance(error_type, str) else ""


def _detail(response: Response) -> str:
    # The error type and never the body, which may be an event: no request data in the log.
    error_type = header_text(_error_type_of(response), limit=_MAX_DETAIL_CHARACTERS)
    return f"{response.status} {error_type}".rstrip()


class Requests:
    """
    Builds the requests to the Runtime API at `address` (``host:port``).

    Thread safety: immutable after construction; every method, from any thread.
    """

    def __init__(self, address: str) -> None:
        self._host = header_text(address)
        self.poll = build_request("GET", _RUNTIME + "invocation/next", self._host)

    def response(self, invocation: Invocation, success: Success) -> bytes:
        """
        Build the request for a buffered response.

        There is no response-mode header: the Runtime API rejects ``buffered``.
        """
        # One string and no helper in between: this is made for every invocation.
        content_type = header_text(success.content_type) or "application/octet-stream"
        invocation_id = invocation.invocation_id
        echo = f"{_INVOCATION_ID}: {header_text(invocation_id)}\r\n" if invocation_id else ""
        head = (
            f"POST {_RUNTIME}invocation/{quote_id(invocation.request_id)}/response HTTP/1.1\r\n"
            f"Host: {self._host}\r\nContent-Type: {content_type}\r\n{echo}"
            f"Content-Length: {len(success.body)}\r\n\r\n"
        )
        return head.encode("latin-1") + success.body

    def error(self, request_id: str, invocation_id: str | None, failure: Failure) -> bytes:
        """Build the request for an error."""
        headers = (_JSON, _type_header(failure), *_xray_header(failure), *_echo(invocation_id))
        return self._post(_path(request_id, "/error"), headers, error_body(failure, request_id))

    def init_error(self, failure: Failure) -> bytes:
        """Build the request that says that this environment cannot start."""
        headers = (_JSON, _type_header(failure), *_xray_header(failure))
        return self._post(_RUNTIME + "init/error", headers, error_body(failure, ""))

    def stream_head(self, invocation: Invocation, head: Streaming) -> bytes:
        """Build the start of a streamed response; chunks follow."""
        content_type = header_text(head.content_type) or "application/octet-stream"
        headers = (
            ("Content-Type", content_type),
            ("Lambda-Runtime-Function-Response-Mode", "streaming"),
            ("Transfer-Encoding", "chunked"),
            ("Trailer", f"{_ERROR_TYPE}, {_ERROR_BODY}"),
            *_echo(invocation.invocation_id),
        )
        return self._post(_path(invocation.request_id, "/response"), headers, None)

    def register_extension(self, name: str) -> bytes:
        """Build the request that registers an extension that wants no events."""
        headers = (_JSON, ("Lambda-Extension-Name", header_text(name)))
        return self._post(_EXTENSION + "register", headers, b'{"events":[]}')

    def extension_poll(self, extension_id: str) -> bytes:
        """Build the extension's poll, which for one that wants no events never ends."""
        headers = (("Lambda-Extension-Identifier", header_text(extension_id)),)
        return build_request("GET", _EXTENSION + "event/next", self._host, headers)

    def _post(self, path: str, headers: Headers, body: bytes | None) -> bytes:
        return build_request("POST", path, self._host, headers, body)


def failure_trailers(failure: Failure, request_id: str) -> bytes:
    """Build the end of a streamed response that failed midway, the error cut until it fits."""
    type_header = _type_header(failure)
    around_bytes = len(build_last_chunk((type_header, (_ERROR_BODY, "")))) - len(b"0\r\n")
    limit_bytes = (_MAX_TRAILERS_BYTES - around_bytes) // 4 * 3  # base64: 4 bytes for 3
    body = error_body(failure, request_id, limit_bytes=limit_bytes)
    return build_last_chunk((type_header, (_ERROR_BODY, base64.b64encode(body).decode())))


def _path(request_id: str, end: str) -> str:
    return f"{_RUNTIME}invocation/{quote_id(request_id)}{end}"


def _echo(invocation_id: str | None) -> Headers:
    return ((_INVOCATION_ID, header_text(invocation_id)),) if invocation_id else ()


def _type_header(failure: Failure) -> tuple[str, str]:
    error_type = header_text(failure.error_type, limit=_MAX_ERROR_TYPE_CHARACTERS)
    return _ERROR_TYPE, error_type or "Runtime.Unknown"


def _xray_header(failure: Failure) -> Headers:
    cause = failure.xray_cause
    if not cause or len(cause) >= MAX_XRAY_CAUSE_BYTES:
        return ()
    # Dropped, not mended: a mended cause would no longer be the JSON that X-Ray reads.
    if any(byte < 0x20 or byte == 0x7F for byte in cause):
        return ()
    return ((_XRAY_CAUSE, cause.decode("latin-1")),)


# Error bodies --------------------------------------------------------------------------------


def error_body(failure: Failure, request_id: str, *, limit_bytes: int = MAX_ERROR_BYTES) -> bytes:
    """
    Build an error's JSON, below `limit_bytes`: the stack is cut first, then the message.

    Frames are dropped from the outside in; the innermost one is where the fault is.
    """
    body = _encode_error(failure, request_id)
    if len(body) < limit_bytes:
        return body
    bare = replace(failure, stack=())
    room_bytes = limit_bytes - len(_encode_error(bare, request_id))
    if room_bytes > 0:
        return _encode_error(
            replace(failure, stack=_innermost_frames(failure.stack, room_bytes)), request_id
        )
    # Names long enough to matter are nobody's; they leave most of the room to the message.
    request_id = _beginning(request_id, limit_bytes // 8)
    bare = replace(bare, message="", error_class=_beginning(failure.error_class, limit_bytes // 8))
    room_bytes = limit_bytes - 1 - len(_encode_error(bare, request_id))
    return _encode_error(replace(bare, message=_beginning(failure.message, room_bytes)), request_id)


def without_details(failure: Failure) -> Failure:
    """Make the smallest failure of the same type."""
    return Failure(failure.error_type, failure.error_class, "The error was too large to report.")


def oversized_response(body_bytes: int, limit_bytes: int) -> Failure:
    """Make the failure that stands in for a response the Runtime API would not take."""
    return Failure(
        "Function.ResponseSizeTooLarge",
        "ResponseTooLarge",
        f"Response payload size ({body_bytes} bytes) exceeded maximum allowed payload size "
        f"({limit_bytes} bytes).",
    )


def _encode_error(failure: Failure, request_id: str) -> bytes:
    # Escaped to ASCII, so that a lone surrogate in a message cannot fail the report of it.
    return json.dumps(
        {
            "errorMessage": failure.message,
            "errorType": failure.error_class[:_MAX_NAME_CHARACTERS],
            "requestId": request_id[:_MAX_NAME_CHARACTERS],
            "stackTrace": failure.stack,
        }
    ).encode("ascii")


def _beginning(text: str, room_bytes: int) -> str:
    """The longest beginning of `text` that takes at most `room_bytes` in JSON, quotes left out."""
    text = text[:room_bytes]
    sizes = range(len(text) + 1)
    return text[: bisect_right(sizes, room_bytes, key=lambda n: len(json.dumps(text[:n])) - 2) - 1]


def _innermost_frames(stack: tuple[str, ...], room_bytes: int) -> tuple[str, ...]:
    kept = 0
    for frame in reversed(stack):
        room_bytes -= len(json.dumps(frame)) + len(", ")
        if room_bytes <= 0:
            break
        kept += 1
    return stack[len(stack) - kept :]
