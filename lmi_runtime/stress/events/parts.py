"""What all event strategies are made of: text that shrinks well, ids, times, batches."""

from __future__ import annotations

import base64
import copy
import itertools
import json
import string
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

__all__ = [
    "ACCOUNT",
    "BODIES",
    "DOCUMENTS",
    "NAMES",
    "NUMBERS",
    "REGION",
    "SLUGS",
    "TEXTS",
    "Batch",
    "Given",
    "as_base64",
    "as_text",
    "batches",
    "epoch_ms",
    "epoch_s",
    "hex_id",
    "iso_time",
    "strategy",
    "uuid_of",
]

T = TypeVar("T")
Given: TypeAlias = T | SearchStrategy[T]
"""A value that is the same in every event, or a strategy that draws one."""
Batch: TypeAlias = int | tuple[int, int]
"""How many records an event has: exactly so many, or from the first to the second."""

ACCOUNT = "123456789012"
REGION = "us-east-1"
_START_S = 1_767_225_600  # 2026-01-01T00:00:00Z: the clock of generated events stands still there

NAMES: SearchStrategy[str] = st.text(string.ascii_lowercase, min_size=1, max_size=8)
"""Keys of headers, queries, attributes and documents."""
SLUGS: SearchStrategy[str] = st.text(string.ascii_lowercase + string.digits, max_size=12)
"""What stands in paths and object keys without being quoted; may be empty."""
TEXTS: SearchStrategy[str] = st.text(max_size=16)
"""Free text: any character that UTF-8 has."""

_LEAVES = st.one_of(
    TEXTS,
    st.integers(-(2**53), 2**53),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
)
# Two levels and not `recursive()`, which costs several times as much to draw.
_VALUES = st.one_of(
    _LEAVES,
    st.lists(_LEAVES, max_size=3),
    st.dictionaries(NAMES, _LEAVES, max_size=2),
)
DOCUMENTS: SearchStrategy[dict[str, Any]] = st.dictionaries(NAMES, _VALUES, max_size=3)
"""Small JSON objects."""
BODIES: SearchStrategy[Any] = st.one_of(st.just(""), DOCUMENTS, TEXTS)
"""Payloads: empty, a JSON object, plain text."""

NUMBERS: SearchStrategy[itertools.count[int]] = st.shared(
    st.builds(itertools.count, st.just(1)), key="lmi_runtime.stress.events"
)
"""
Counts what needs an id. All events of one test case share the counter, so their ids differ, and
no choice of Hypothesis is spent on them, so they never stand in the way of shrinking.
"""


def strategy(given: Given[T]) -> SearchStrategy[T]:
    """Draw from `given` if it is a strategy, else always a copy of it."""
    if isinstance(given, SearchStrategy):
        return given
    if isinstance(given, dict | list):
        # A handler may change its event; the next one must not see that.
        return st.builds(copy.deepcopy, st.just(given))
    return st.just(given)


def batches(
    record: Callable[[Callable[[SearchStrategy[Any]], Any], int], Any], size: Batch
) -> SearchStrategy[list[Any]]:
    """
    Lists of records, the fewest first.

    Args:
        record: Makes one from Hypothesis's `draw` and a number that no other record has.
        size: How many.

    Raises:
        ValueError: The size is not a range of whole numbers from 1.
    """
    least, most = (size, size) if isinstance(size, int) else size
    if not 1 <= least <= most:
        raise ValueError(f"a batch has from 1 record up, least first, not {size!r}")

    @st.composite
    def one(draw: Callable[[SearchStrategy[Any]], Any]) -> Any:
        return record(draw, next(draw(NUMBERS)))

    return st.lists(one(), min_size=least, max_size=most)


def as_text(payload: object) -> str:
    """Text as it is, anything else as JSON."""
    return payload if isinstance(payload, str) else json.dumps(payload)


def as_base64(payload: object) -> str:
    """Bytes, text or a JSON value in base64."""
    data = payload if isinstance(payload, bytes) else as_text(payload).encode()
    return base64.b64encode(data).decode()


def uuid_of(number: int) -> str:
    """A version 4 UUID that shows its number."""
    return f"00000000-0000-4000-8000-{number:012x}"


def hex_id(number: int, digits: int) -> str:
    """An upper-case hexadecimal id that shows its number."""
    return f"{number:0{digits}X}"


def epoch_s(number: int) -> int:
    """When the thing with this number happened: seconds since 1970."""
    return _START_S + number


def epoch_ms(number: int) -> int:
    """The same in milliseconds."""
    return epoch_s(number) * 1000


def iso_time(number: int) -> str:
    """The same as ``2026-01-01T00:00:01.000Z``."""
    return f"{datetime.fromtimestamp(epoch_s(number), UTC):%Y-%m-%dT%H:%M:%S}.000Z"
