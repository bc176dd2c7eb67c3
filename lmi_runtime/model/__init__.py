"""Frozen facts that travel between rooms, and the ports the rooms meet at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmi_runtime._lazy import lazily

if TYPE_CHECKING:
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

# A function that serves no requests by itself needs only the invocation.
_FROM = {
    "MAX_ERROR_BYTES": "outcome",
    "MAX_RESPONSE_BYTES": "outcome",
    "AnswerStream": "ports",
    "Entry": "ports",
    "EntryKind": "ports",
    "Failure": "outcome",
    "InFlightLedger": "ports",
    "Invocation": "invocation",
    "LogFormat": "settings",
    "Mode": "settings",
    "Outcome": "outcome",
    "PostResult": "outcome",
    "PostVerdict": "outcome",
    "RuntimeApi": "ports",
    "Settings": "settings",
    "StreamFailed": "outcome",
    "Streaming": "outcome",
    "Success": "outcome",
    "backend_from": "settings",
    "is_made_safe": "settings",
}


__getattr__ = lazily(globals(), _FROM)
