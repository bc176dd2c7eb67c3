"""What a line looks like: JSON objects as the platform wants them, or text."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from lmi_runtime import _sync
from lmi_runtime.context import Request, peek
from lmi_runtime.logs.cutting import MAX_LINE_BYTES, cut_bytes, encode_fields, safe_str

__all__ = [
    "Format",
    "JsonFormat",
    "JsonFormatter",
    "Printed",
    "TextFormat",
    "TextFormatter",
    "stamp",
]

_STANDARD = frozenset(vars(logging.makeLogRecord({})))
_STANDARD_COUNT = len(_STANDARD)
_RESERVED = _STANDARD | {
    "aws_request_id",
    "message",
    "asctime",
    "taskName",
    "tenant_id",
}


class Printed(NamedTuple):
    """One printed line, without its newline, and who printed it."""

    text: bytes
    logger: str
    level: int


class Format(Protocol):
    """
    How lines are written. Stateless, so any thread may use it at any time.

    Every method returns one line without its newline and never raises.
    """

    formatter: logging.Formatter
    """What the root handler starts out with."""

    def printed(self, line: Printed, request: Request | None) -> bytes:
        """A line that was printed, or that a formatter of the user's own made."""
        ...

    def record(self, record: logging.LogRecord) -> bytes:
        """What `formatter` makes of `record`, encoded."""
        ...

    def notice(
        self,
        level: int,
        message: str,
        fields: Mapping[str, object],
        *,
        limit_bytes: int = MAX_LINE_BYTES - 1,
    ) -> bytes:
        """A line of our own that belongs to no request, of at most `limit_bytes`."""
        ...


class JsonFormatter(logging.Formatter):
    """
    One JSON object a record, with the keys that awslambdaric writes.

    Timestamps have milliseconds, which awslambdaric's have not: within one second the lines
    of many requests interleave. Both are RFC 3339, as the platform demands.

    Thread safety: holds nothing; any thread.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON, below 64 KiB in UTF-8. Never raises."""
        stamp(record)
        return encode_fields(record_fields(record)).decode()


class TextFormatter(logging.Formatter):
    """The layout awslambdaric uses for text: level, time, request id and message, by tabs."""

    def __init__(self) -> None:
        super().__init__(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s",
            "%Y-%m-%dT%H:%M:%S",
        )
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """The record as text; a message whose arguments do not fit is shown as it is."""
        stamp(record)
        try:
            return super().format(record)
        except Exception:
            whose, message = record.__dict__["aws_request_id"], _message(record)
            return f"[{record.levelname}]\t{timestamp(record.created)}\t{whose}\t{message}"


class JsonFormat:
    """
    JSON lines. What already is a JSON object passes byte for byte.

    Thread safety: holds nothing; any thread.
    """

    def __init__(self) -> None:
        self.formatter: logging.Formatter = JsonFormatter()

    def printed(self, line: Printed, request: Request | None) -> bytes:
        """Wrap a line of text into an object that names its request."""
        if is_json_object(line.text) and len(cut_bytes(line.text)) == len(line.text):
            return line.text
        return encode_fields(
            {
                "timestamp": timestamp(_sync.wall_time()),
                "level": logging.getLevelName(line.level),
                "message": line.text.decode("utf-8", "replace"),
                "logger": line.logger,
                **_request_fields(request),
            }
        )

    def record(self, record: logging.LogRecord) -> bytes:
        """What `JsonFormatter` makes of `record`, without the way through text."""
        return encode_fields(record_fields(record))

    def notice(
        self,
        level: int,
        message: str,
        fields: Mapping[str, object],
        *,
        limit_bytes: int = MAX_LINE_BYTES - 1,
    ) -> bytes:
        """One object, with `fields` as further keys."""
        return encode_fields(
            {
                "timestamp": timestamp(_sync.wall_time()),
                "level": logging.getLevelName(level),
                "message": message,
                "logger": "lmi_runtime",
                **fields,
            },
            limit_bytes=limit_bytes,
        )


class TextFormat:
    """
    Plain text; printed lines stay as they are.

    Thread safety: holds nothing; any thread.
    """

    def __init__(self) -> None:
        self.formatter: logging.Formatter = TextFormatter()

    def printed(self, line: Printed, request: Request | None) -> bytes:
        """The line itself."""
        return cut_bytes(line.text)

    def record(self, record: logging.LogRecord) -> bytes:
        """What `TextFormatter` makes of `record`; a lone surrogate is escaped."""
        text = self.formatter.format(record)
        return cut_bytes(text.encode("utf-8", "backslashreplace"))

    def notice(
        self,
        level: int,
        message: str,
        fields: Mapping[str, object],
        *,
        limit_bytes: int = MAX_LINE_BYTES - 1,
    ) -> bytes:
        """One line, with `fields` behind the message."""
        said = " ".join([message, *(f"{key}={safe_str(fields[key])}" for key in fields)])
        line = f"[{logging.getLevelName(level)}]\t{timestamp(_sync.wall_time())}\t\t{said}"
        return cut_bytes(line.encode("utf-8", "backslashreplace"), limit_bytes=limit_bytes)


def stamp(record: logging.LogRecord) -> None:
    """
    Note on `record` whose it is: the request that the calling code serves, or nobody's.

    A record that says so already keeps what it says: it travelled through a queue, perhaps.
    """
    if not hasattr(record, "aws_request_id"):
        request = peek()
        record.aws_request_id = request.request_id if request else ""
        record.tenant_id = request.tenant_id if request else None


def record_fields(record: logging.LogRecord) -> dict[str, Any]:
    """The keys and values of a record's line, in the order awslambdaric writes them."""
    attributes = record.__dict__
    fields: dict[str, Any] = {
        "timestamp": timestamp(record.created),
        "level": _level_name(record.levelno),
        "message": _message(record),
        "logger": record.name,
    }
    if record.exc_info:
        fields.update(_error_fields(record))
    if request_id := attributes.get("aws_request_id"):
        fields["requestId"] = request_id
    if tenant_id := attributes.get("tenant_id"):
        fields["tenantId"] = tenant_id
    if record.stack_info:
        fields["stackInfo"] = record.stack_info
    # Most records have no extras, and then nothing but what every record has.
    stamps = ("aws_request_id" in attributes) + ("tenant_id" in attributes)
    if len(attributes) > _STANDARD_COUNT + stamps:
        for key in attributes.keys() - _RESERVED:
            if key not in fields and attributes[key] is not None:
                fields[key] = attributes[key]
    return fields


def timestamp(created_s: float) -> str:
    """`created_s` seconds since the epoch as RFC 3339 in UTC, with milliseconds."""
    global _last_second
    second = int(created_s)
    known, text = _last_second
    if known != second:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _last_second = second, text
    return f"{text}.{int((created_s - second) * 1000):03d}Z"


# The last second and its text, replaced as one: any thread, the worst case is work done twice.
_last_second = (0, "1970-01-01T00:00:00")


def is_json_object(line: bytes) -> bool:
    """Whether `line` is one whole JSON object, as loggers and metrics libraries write it."""
    # Looks before it parses: the repr of a dictionary begins with a brace as well.
    inner = line[1:20].lstrip()
    if line[:1] != b"{" or inner[:1] not in (b'"', b"}", b"") or line.rstrip()[-1:] != b"}":
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _request_fields(request: Request | None) -> dict[str, str]:
    if request is None:
        return {}
    tenant_id = request.tenant_id
    return {"requestId": request.request_id} | ({"tenantId": tenant_id} if tenant_id else {})


def _error_fields(record: logging.LogRecord) -> dict[str, Any]:
    # logger.exception() outside an except block gives a tuple of three Nones.
    kind, error, trace = record.exc_info or (None, None, None)
    if kind is None:
        return {}
    return {
        "stackTrace": traceback.format_tb(trace),
        "errorType": kind.__name__,
        "errorMessage": safe_str(error),
        "location": f"{record.pathname}:{record.funcName}:{record.lineno}",
    }


def _message(record: logging.LogRecord) -> Any:
    if isinstance(record.msg, dict) and not record.args:
        return record.msg
    try:
        return record.getMessage()
    except Exception as error:
        said = f"{safe_str(record.msg)} % {safe_str(record.args)}"
        return f"{said} ({type(error).__name__}: {safe_str(error)})"


def _level_name(level: int) -> str:
    # The platform's filter knows five levels; one in between counts as the next lower.
    return logging.getLevelName(min(50, max(0, level)) // 10 * 10)
