"""A failure in one line of text: what to run, with which events, and where to leave the default."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from lmi_runtime.stress.model import Deviation, DeviationKind, Granularity, Schedule

__all__ = ["Key", "Replay", "TokenError", "decode", "encode"]

_PREFIX = "lmi"
_VERSION = 1
_LONGEST_TOKEN = 1_000_000  # characters
_LONGEST_TEXT = 4_000_000  # bytes of JSON, after decompression
_KINDS = frozenset(get_args(DeviationKind))


class TokenError(ValueError):
    """The text is no token, or not a whole one, or was made by a newer version."""


@dataclass(frozen=True, slots=True)
class Key:
    """
    Where a deviation takes place, in words that hold on any Python version.

    Attributes:
        function: Qualified name; list, dict and set comprehensions count as the function around
            them, because they are no functions of their own from 3.12 on.
        line: Relative to the first line of the function, so that edits above do no harm; of
            the file if the function cannot be found in the source.
        label: What happens there.
        nth: How many decisions of this actor, kind, function, line and label came before.
        nth_on_line: The same whatever the label.
    """

    function: str
    line: int
    label: str
    nth: int
    nth_on_line: int


@dataclass(frozen=True, slots=True)
class Replay:
    """
    All it takes to see a failure again.

    Attributes:
        subject: What was explored.
        granularity: Where threads could be preempted.
        schedule: Exact on the Python version that made it.
        keys: One a deviation; None where the place has no source.
        events: JSON-like.
        python: ``3.13``: which version made it.
    """

    subject: str
    granularity: Granularity
    schedule: Schedule = ()
    keys: tuple[Key | None, ...] = ()
    events: tuple[Any, ...] = ()
    python: str = ""


def encode(replay: Replay) -> str:
    """
    One line of URL-safe text.

    Raises:
        TokenError: an event is not JSON.
    """
    body = {
        "s": replay.subject,
        "g": replay.granularity.value,
        "d": [[each.kind, each.actor, each.visit, each.to] for each in replay.schedule],
        "k": [_key_to_json(each) for each in replay.keys],
        "e": list(replay.events),
        "p": replay.python,
    }
    try:
        text = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise TokenError(f"an event cannot be written as JSON: {error}") from error
    packed = zlib.compress(text, 9)
    checked = zlib.crc32(packed).to_bytes(4, "big") + packed
    encoded = base64.urlsafe_b64encode(checked).rstrip(b"=").decode()
    return f"{_PREFIX}{_VERSION}.{encoded}"


def decode(token: str) -> Replay:
    """
    What `encode` was given.

    Raises:
        TokenError: the token is cut, garbled, or newer than this version; the message says which.
    """
    encoded = _strip_version("".join(token.split()))
    text = _decompress(_unchecked(encoded))
    try:
        return _replay_from_json(json.loads(text))
    except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
        raise TokenError(f"the token has no such contents as expected: {error!r}") from error


def _strip_version(token: str) -> str:
    head, dot, encoded = token.partition(".")
    version = head.removeprefix(_PREFIX)
    if not dot or not head.startswith(_PREFIX) or not (version.isascii() and version.isdigit()):
        raise TokenError(f"this is no token; tokens begin with {_PREFIX}{_VERSION}.")
    if len(token) > _LONGEST_TOKEN:
        raise TokenError(f"the token is longer than {_LONGEST_TOKEN} characters")
    if int(version[:9]) > _VERSION:
        raise TokenError(
            f"the token was made by a newer version (format {version[:9]}, known: {_VERSION})"
        )
    return encoded


def _unchecked(encoded: str) -> bytes:
    try:
        padded = encoded + "=" * (-len(encoded) % 4)
        checked = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenError("the token is garbled: it has characters that no token has") from error
    if len(checked) < 5 or zlib.crc32(checked[4:]).to_bytes(4, "big") != checked[:4]:
        raise TokenError("the token is cut or garbled: its checksum is wrong")
    return checked[4:]


def _decompress(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, _LONGEST_TEXT)
    except zlib.error as error:
        raise TokenError("the token is garbled: it cannot be unpacked") from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise TokenError(f"the token unpacks to more than {_LONGEST_TEXT} bytes")
    return text


def _replay_from_json(body: dict[str, Any]) -> Replay:
    schedule = tuple(_deviation_from_json(each) for each in body["d"])
    keys = tuple(_key_from_json(each) for each in body["k"])
    if len(keys) != len(schedule):
        raise ValueError("not one key a deviation")
    return Replay(
        subject=_typed(body["s"], str),
        granularity=Granularity(body["g"]),
        schedule=schedule,
        keys=keys,
        events=tuple(_typed(body["e"], list)),
        python=_typed(body["p"], str),
    )


def _deviation_from_json(fields: Sequence[Any]) -> Deviation:
    kind, actor, visit, to = fields
    if kind not in _KINDS:
        raise ValueError(f"no kind of deviation: {kind!r}")
    return Deviation(
        cast("DeviationKind", kind), _typed(actor, int), _typed(visit, int), _typed(to, int)
    )


def _key_to_json(key: Key | None) -> list[Any] | None:
    if key is None:
        return None
    return [key.function, key.line, key.label, key.nth, key.nth_on_line]


def _key_from_json(fields: Sequence[Any] | None) -> Key | None:
    if fields is None:
        return None
    function, line, label, nth, nth_on_line = fields
    return Key(
        _typed(function, str),
        _typed(line, int),
        _typed(label, str),
        _typed(nth, int),
        _typed(nth_on_line, int),
    )


def _typed(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r:.40} is not {kind.__name__}")
    return value
