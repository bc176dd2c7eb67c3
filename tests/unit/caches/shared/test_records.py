"""One entry as bytes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.caches.model import Policy
from lmi_runtime.caches.shared.keys import canonical_key, key_slot, tag_name
from lmi_runtime.caches.shared.records import (
    Corrupt,
    Kind,
    Record,
    fresh_payload,
    pack,
    times_of,
    unpack,
)

times = st.floats(0, 2e9)
records = st.builds(
    Record,
    payload=st.binary(),
    made_s=times,
    fresh_until_s=times | st.just(math.inf),
    kind=st.sampled_from(Kind),
    tags=st.lists(st.text().map(tag_name), max_size=3).map(tuple),
)
scalars = (
    st.text() | st.binary() | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none()
)
keys = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


@given(st.binary(max_size=50), records)
def test_records_come_back(key: bytes, record: Record) -> None:
    assert unpack(key, pack(key, record)) == record


@given(records, st.data())
def test_any_changed_bit_is_noticed(record: Record, data: st.DataObject) -> None:
    packed = bytearray(pack(b"k", record))
    at = data.draw(st.integers(0, len(packed) * 8 - 1))
    packed[at // 8] ^= 1 << at % 8

    with pytest.raises(Corrupt):
        unpack(b"k", bytes(packed))
    assert fresh_payload(b"k", bytes(packed), None, record.made_s) is None


@given(records, st.integers(0, 40))
def test_what_is_cut_short_or_under_another_key_is_noticed(record: Record, length: int) -> None:
    packed = pack(b"k", record)

    with pytest.raises(Corrupt):
        unpack(b"other", packed)
    with pytest.raises(Corrupt):
        unpack(b"k", packed[: min(length, len(packed) - 1)])


@given(records, times, st.none() | st.floats(0, 1))
def test_the_short_way_says_the_same_as_the_long_one(
    record: Record, now_s: float, ahead: float | None
) -> None:
    """It may leave a record to the other, but never gives what that would not give at once."""
    payload = fresh_payload(b"k", pack(b"k", record), ahead, now_s)
    until = times_of(record, Policy(refresh_ahead=ahead), now_s)
    fresh = now_s < until.fresh_until and now_s < until.refresh_at

    assert payload in (None, record.payload)
    if record.kind == Kind.VALUE and not record.tags:
        assert (payload is not None) == fresh


def test_too_many_tags_are_refused() -> None:
    tags = tuple(tag_name(str(number)) for number in range(256))

    with pytest.raises(ValueError, match="255"):
        pack(b"k", Record(b"", 0.0, tags=tags))
    pack(b"k", Record(b"", 0.0, tags=tags[1:]))


@given(keys, keys)
def test_different_keys_are_different_bytes(one: object, other: object) -> None:
    same = repr(one) == repr(other)

    assert (canonical_key(one) == canonical_key(other)) == same
    assert len(canonical_key(one)) <= 96


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (1, "1"), ("a", b"a"), ((), "")])
def test_what_python_or_text_takes_for_equal_is_told_apart(one: object, other: object) -> None:
    assert canonical_key(one) != canonical_key(other)


@pytest.mark.parametrize("key", [[1], {"a": 1}, object(), (1, [2])])
def test_what_means_nothing_to_another_process_is_no_key(key: object) -> None:
    with pytest.raises(TypeError, match="key of a shared cache"):
        canonical_key(key)


def test_names_of_marks_are_few_for_keys_and_many_for_tags() -> None:
    assert len({key_slot(b"%d" % number) for number in range(20_000)}) <= 4096
    assert len({tag_name(str(number)) for number in range(20_000)}) == 20_000
