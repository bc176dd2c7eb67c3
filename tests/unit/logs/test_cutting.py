"""No line is longer than 64 KiB, and every one stays valid."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.logs.cutting import MAX_LINE_BYTES, cut_bytes, encode_fields, safe_str
from tests.support.examples import few

# Characters that need one to four bytes, escapes, and half a surrogate pair.
alphabet = st.sampled_from('a"\\\n\x00\x1fé€😀\ud800')
texts = st.text(alphabet, max_size=300)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)


def strict(line: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(line, parse_constant=refuse)


@given(st.dictionaries(texts, json_values, max_size=8), st.integers(3_000, 6_000))
def test_whatever_is_logged_becomes_one_json_object_below_the_limit(
    fields: dict[str, Any], limit: int
) -> None:
    line = encode_fields(fields, limit_bytes=limit)

    assert len(line) <= limit
    assert b"\n" not in line
    assert isinstance(strict(line), dict)


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers(), max_size=8))
def test_what_fits_is_not_touched(fields: dict[str, Any]) -> None:
    encoded = json.dumps(fields, ensure_ascii=False).encode("utf-8", "backslashreplace")

    assert encode_fields(fields) == encoded


@few()
@given(st.text(alphabet, min_size=1), st.integers(20_000, 90_000))
def test_a_long_message_keeps_its_beginning_and_leaves_the_rest_alone(
    piece: str, length: int
) -> None:
    message = (piece * (length // len(piece) + 1))[:length]
    line = encode_fields({"level": "INFO", "message": message, "requestId": "r1"})

    found = strict(line)
    assert len(line) < MAX_LINE_BYTES
    assert (found["level"], found["requestId"]) == ("INFO", "r1")
    if found["message"] != message:
        kept, _, marker = found["message"].rpartition("... [cut from ")
        assert marker.endswith("bytes]")
        assert message.startswith(kept)
        assert len(line) > MAX_LINE_BYTES - 20, "more was cut than had to be"


def test_short_values_survive_beside_several_long_ones() -> None:
    fields = {"a": "x" * 60_000, "b": "é" * 60_000, "c": "short", "d": {"deep": "y" * 60_000}}

    found = strict(encode_fields(fields))

    assert found["c"] == "short"
    assert all("[cut from " in found[key] for key in ("a", "b", "d"))


def test_a_long_stack_stays_a_list() -> None:
    stack = [f"frame {n} " + "é" * 200 for n in range(1_000)]

    found = strict(encode_fields({"message": "m", "stackTrace": stack}))

    assert found["message"] == "m"
    assert found["stackTrace"][:100] == stack[:100]
    assert "[cut from " in found["stackTrace"][-1]


def test_any_number_of_fields_fits() -> None:
    line = encode_fields({"message": "m"} | {f"key {n} " * 99: "v" * 9_999 for n in range(5_000)})

    assert len(line) < MAX_LINE_BYTES
    assert strict(line)["message"] == "m"


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("no")


def test_what_json_cannot_hold_becomes_text() -> None:
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    fields = {
        "set": {1},
        "bad": Unprintable(),
        "nan": math.nan,
        "deep": [math.inf, {(1, 2): b"x"}],
        "cycle": cycle,
    }

    found = strict(encode_fields(fields))

    assert found["set"] == "{1}"
    assert found["bad"] == "<Unprintable that cannot be shown: ValueError>"
    assert found["nan"] == "nan"
    assert found["deep"] == ["inf", {"(1, 2)": "b'x'"}]
    assert isinstance(found["cycle"]["self"], dict)
    assert safe_str(Unprintable()) == found["bad"]


@given(st.text(st.sampled_from("aé😀"), max_size=200), st.integers(60, 300))
def test_text_is_cut_between_characters(text: str, limit: int) -> None:
    line = cut_bytes(text.encode(), limit_bytes=limit)

    assert len(line) <= limit
    line.decode()
    if len(text.encode()) <= limit:
        assert line == text.encode()


@pytest.mark.parametrize("length", [65_533, 65_534, 65_535, 65_536])
def test_the_limit_counts_the_newline(length: int) -> None:
    """65 535 bytes pass the platform's reader, one more stops it."""
    assert len(cut_bytes(b"x" * length)) + 1 <= 65_535
    assert (cut_bytes(b"x" * length) == b"x" * length) == (length <= 65_534)
