"""Frames of `application/vnd.amazon.eventstream`, as `InvokeWithResponseStream` answers."""

from __future__ import annotations

import json
import struct
from binascii import crc32
from collections.abc import Iterator, Mapping

from lmi_runtime.emulator.answers import Answer

_STRING = 7
_PAYLOAD_BYTES = 64 * 1024


def encode_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """
    One message: prelude, its checksum, headers, payload, checksum of all.

    Args:
        headers: String headers, each name and value below 256 and 65536 bytes.
        payload: Body of the message.
    """
    encoded = b"".join(_encode_header(name, value) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(encoded) + len(payload), len(encoded))
    message = prelude + struct.pack(">I", crc32(prelude)) + encoded + payload
    return message + struct.pack(">I", crc32(message))


def _encode_header(name: str, value: str) -> bytes:
    raw_name, raw_value = name.encode(), value.encode()
    length = struct.pack(">BH", _STRING, len(raw_value))
    return bytes([len(raw_name)]) + raw_name + length + raw_value


def _event(kind: str, content_type: str, payload: bytes) -> bytes:
    headers = {":message-type": "event", ":event-type": kind, ":content-type": content_type}
    return encode_frame(headers, payload)


def encode_answer(answer: Answer) -> bytes:
    """All frames of a finished invocation: payload chunks, then `InvokeComplete`."""
    return b"".join(_frames(answer))


def _frames(answer: Answer) -> Iterator[bytes]:
    outcome: dict[str, str] = {}
    if answer.ok:
        for start in range(0, len(answer.body), _PAYLOAD_BYTES):
            chunk = answer.body[start : start + _PAYLOAD_BYTES]
            yield _event("PayloadChunk", "application/octet-stream", chunk)
    else:
        details = answer.body.decode("utf-8", "replace")
        outcome = {"ErrorCode": answer.error_type or "", "ErrorDetails": details}
    yield _event("InvokeComplete", "application/json", json.dumps(outcome).encode())
