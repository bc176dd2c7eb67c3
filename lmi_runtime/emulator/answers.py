"""What the emulator says: to a caller (`Answer`) and to the runtime (`Reply`)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from lmi_runtime.emulator.options import MAX_RESPONSE_BYTES

_KNOWN_ERROR_TYPE = re.compile(r"(Runtime|Function)\.[A-Z][a-zA-Z]+")
_TEXT = "text/plain; charset=utf-8"

UNAVAILABLE = "Runtime.Unavailable"
TIMED_OUT = "Sandbox.Timedout"
EXIT_ERROR = "Runtime.ExitError"
UNKNOWN = "Runtime.Unknown"
SHUT_DOWN = "Client.ExecutionEnvironmentShutDown"
UNHEALTHY = "Client.ExecutionEnvironmentUnhealthy"
DUPLICATED_ID = "Client.DuplicatedInvokeId"


def filter_error_type(posted: str) -> str:
    """Reduce an error type a runtime posted to what a caller may see."""
    if _KNOWN_ERROR_TYPE.search(posted):
        return posted
    return "Function.Unknown" if posted.startswith("Function.") else UNKNOWN


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What the caller of the invoke API gets.

    Attributes:
        status: HTTP status; 200 also for errors of the function.
        body: Result, or error object as JSON.
        error_type: Value of `Error-Type`; None means success.
        content_type: Media type of *body*.
        response_mode: `buffered` or `streaming`; empty for errors.
    """

    status: int
    body: bytes
    error_type: str | None = None
    content_type: str = _TEXT
    response_mode: str = ""

    @property
    def ok(self) -> bool:
        """The function returned a result."""
        return self.error_type is None

    @property
    def refused(self) -> bool:
        """No poll waited (or the limit was reached): the function never saw the event."""
        return self.error_type == UNAVAILABLE


def error_answer(error_type: str, *, status: int = 200, message: str = "") -> Answer:
    """An error the platform itself reports."""
    facts = {"errorType": error_type}
    if message:
        facts["errorMessage"] = message
    content_type = _TEXT if status == 200 else "application/json"
    body = json.dumps(facts, separators=(",", ":")).encode()
    return Answer(status, body, error_type, content_type)


@dataclass(frozen=True, slots=True)
class Reply:
    """
    A short JSON answer of the Runtime API.

    Attributes:
        status: HTTP status.
        error_type: `errorType` in the body; empty for acceptance.
        message: `errorMessage` in the body.
        body: The encoded body, ending in a newline.
    """

    status: int
    error_type: str = ""
    message: str = ""
    body: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        facts = (
            {"errorMessage": self.message, "errorType": self.error_type}
            if self.error_type
            else {"status": "OK"}
        )
        encoded = json.dumps(facts, separators=(",", ":")).encode() + b"\n"
        object.__setattr__(self, "body", encoded)


ACCEPTED = Reply(202)
INVALID_REQUEST_ID = Reply(400, "InvalidRequestID", "Invalid request ID")
INVALID_RESPONSE_MODE = Reply(400, "InvalidFunctionResponseMode", "Invalid function response mode")
TRUNCATED_REQUEST = Reply(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
INVOKE_TIMEOUT = Reply(410, "InvokeTimeout", "Invoke timeout")
TOO_LARGE = Reply(
    413,
    "RequestEntityTooLarge",
    f"Exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes).",
)
INTERNAL_ERROR = Reply(500, "InternalServerError", "Internal Server Error")
SECOND_INIT_ERROR = Reply(
    403,
    "InvalidStateTransition",
    "State transition from InitError to InitError failed for runtime. "
    "Error: state transition is not allowed",
)
