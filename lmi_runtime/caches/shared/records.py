"""
One entry as bytes: when it was made, until when it is fresh, and a checksum over all of it.

Every process reads these, so their times are of the wall clock. A record that says it was made
later than now comes from before the clock was set back: it is taken to have expired.
"""

from __future__ import annotations

import enum
import math
import struct
from typing import NamedTuple
from zlib import crc32

from lmi_runtime.caches.model import Policy, Times

__all__ = ["Corrupt", "Kind", "Record", "fresh_payload", "pack", "times_of", "unpack"]

_MAGIC = 0x4C31
_HEAD = struct.Struct("<IHBBdd")  # checksum, magic, kind, tags, made, fresh until
_CHECKED_FROM = 4
_TAG_BYTES = 13
_MOST_TAGS = 255
_SKEW_S = 2.0
"""Two processes that ask for the time one after the other may be told this much apart."""


class Corrupt(Exception):
    """The bytes are not a record of this key."""


class Kind(enum.IntEnum):
    """What a record says about its key."""

    VALUE = 1
    FAILURE = 2
    """Loading failed; the payload says how, in words."""


class Record(NamedTuple):
    """
    What is kept for one key.

    Attributes:
        payload: The encoded value.
        made_s: When its load began; seconds of the wall clock.
        fresh_until_s: Until when it is as good as new, by the same clock.
        kind: Whether it is a value.
        tags: Names under which it can be invalidated.
    """

    payload: bytes
    made_s: float
    fresh_until_s: float = math.inf
    kind: int = Kind.VALUE
    tags: tuple[bytes, ...] = ()


def pack(key: bytes, record: Record) -> bytes:
    """
    Raises:
        ValueError: More than 255 tags.
    """
    payload, made_s, fresh_until_s, kind, tags = record
    if len(tags) > _MOST_TAGS:
        raise ValueError(f"An entry can have {_MOST_TAGS} tags, not {len(tags)}.")
    head = _HEAD.pack(0, _MAGIC, kind, len(tags), made_s, fresh_until_s)[_CHECKED_FROM:]
    body = b"".join((head, *tags, payload))
    return crc32(body, crc32(key)).to_bytes(4, "little") + body


def unpack(key: bytes, data: bytes) -> Record:
    """
    Raises:
        Corrupt: The checksum, which covers the key, does not fit.
    """
    try:
        check, magic, kind, tags, made_s, fresh_until_s = _HEAD.unpack_from(data)
    except struct.error:
        raise Corrupt from None
    if magic != _MAGIC or crc32(memoryview(data)[_CHECKED_FROM:], crc32(key)) != check:
        raise Corrupt
    start = _HEAD.size
    if not tags:
        return Record(data[start:], made_s, fresh_until_s, kind)
    end = start + tags * _TAG_BYTES
    names = tuple(data[at : at + _TAG_BYTES] for at in range(start, end, _TAG_BYTES))
    return Record(data[end:], made_s, fresh_until_s, kind, names)


def fresh_payload(key: bytes, data: bytes, ahead: float | None, now_s: float) -> bytes | None:
    """
    The payload of a fresh value that has no tags and need not be refreshed.

    None for all else, which `unpack` tells apart. Most that is read is of this kind; this is
    half of that work.
    """
    if len(data) < _HEAD.size:
        return None
    check, magic, kind, tags, made_s, until_s = _HEAD.unpack_from(data)
    if kind != Kind.VALUE or tags or made_s > now_s + _SKEW_S:
        return None
    if not now_s < until_s or magic != _MAGIC:
        return None
    if ahead is not None and until_s != math.inf and now_s >= made_s + (until_s - made_s) * ahead:
        return None
    if crc32(memoryview(data)[_CHECKED_FROM:], crc32(key)) != check:
        return None
    return data[_HEAD.size :]


def times_of(record: Record, policy: Policy, now_s: float) -> Times:
    """Until when, by the wall clock, `record` is good for what."""
    _, made_s, fresh_until, kind, _ = record
    if made_s > now_s + _SKEW_S:
        return _OVER
    if kind == Kind.FAILURE:
        return Times(math.inf, fresh_until, fresh_until, fresh_until)
    ahead = policy.refresh_ahead
    return Times(
        math.inf
        if ahead is None or fresh_until == math.inf
        else made_s + (fresh_until - made_s) * ahead,
        fresh_until,
        fresh_until + policy.stale_s,
        fresh_until + policy.stale_if_error_s,
    )


_OVER = Times(-math.inf, -math.inf, -math.inf, -math.inf)
