"""Frozen facts that travel between rooms, and the ports the rooms meet at."""

from lmi_runtime.model.invocation import Invocation
from lmi_runtime.model.outcome import (
    MAX_ERROR_BYTES,
    MAX_RESPONSE_BYTES,
    Failure,
    Outcome,
    PostResult,
    PostVerdict,
    StreamFailed,
    Streaming,
    Success,
)
from lmi_runtime.model.ports import AnswerStream, Entry, EntryKind, InFlightLedger, RuntimeApi
from lmi_runtime.model.settings import LogFormat, Mode, Settings, backend_from, is_made_safe

__all__ = [
    "MAX_ERROR_BYTES",
    "MAX_RESPONSE_BYTES",
    "AnswerStream",
    "Entry",
    "EntryKind",
    "Failure",
    "InFlightLedger",
    "Invocation",
    "LogFormat",
    "Mode",
    "Outcome",
    "PostResult",
    "PostVerdict",
    "RuntimeApi",
    "Settings",
    "StreamFailed",
    "Streaming",
    "Success",
    "backend_from",
    "is_made_safe",
]
