"""Tokens: what goes in comes out; what is damaged is refused with a reason."""

from __future__ import annotations

import base64
import json
import string
import zlib
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.stress.model import Deviation, DeviationKind, Granularity
from lmi_runtime.stress.search import Replay, TokenError, decode, encode
from lmi_runtime.stress.search.tokens import Key

SMALL = Replay("app.handler", Granularity.GIL, (Deviation("preempt", 0, 3, 1),), (None,))
SAFE = set(string.ascii_letters + string.digits + "-_.")

numbers = st.integers(-(2**40), 2**40)
pairs = st.lists(
    st.tuples(
        st.builds(Deviation, st.sampled_from(get_args(DeviationKind)), numbers, numbers, numbers),
        st.none() | st.builds(Key, st.text(), numbers, st.text(), numbers, numbers),
    ),
    max_size=5,
)
json_like = st.recursive(
    st.none() | st.booleans() | numbers | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.text(), st.sampled_from(Granularity), pairs, st.lists(json_like, max_size=3), st.text())
def test_round_trip(
    subject: str,
    granularity: Granularity,
    pairs: list[tuple[Deviation, Key | None]],
    events: list[Any],
    python: str,
) -> None:
    schedule = tuple(deviation for deviation, _ in pairs)
    keys = tuple(key for _, key in pairs)
    replay = Replay(subject, granularity, schedule, keys, tuple(events), python)
    token = encode(replay)
    assert set(token) <= SAFE
    assert decode(token) == replay
    assert decode(f"  {token[:20]}\n  {token[20:]}\n") == replay  # as a terminal breaks it


@given(st.data())
def test_a_changed_or_cut_token_is_refused(data: st.DataObject) -> None:
    token = encode(SMALL)
    cut = token[: data.draw(st.integers(0, len(token) - 1))]
    with pytest.raises(TokenError):
        decode(cut)
    place = data.draw(st.integers(5, len(token) - 3))
    other = data.draw(st.sampled_from(sorted(SAFE - {".", token[place]})))
    with pytest.raises(TokenError):
        decode(token[:place] + other + token[place + 1 :])


@given(st.text())
def test_no_text_makes_anything_but_a_token_error(text: str) -> None:
    for each in (text, f"lmi1.{text}"):
        with pytest.raises(TokenError):
            decode(each)


def packed(body: object) -> str:
    text = zlib.compress(json.dumps(body).encode())
    checked = zlib.crc32(text).to_bytes(4, "big") + text
    return "lmi1." + base64.urlsafe_b64encode(checked).rstrip(b"=").decode()


GOOD = {"s": "a", "g": "gil", "d": [], "k": [], "e": [], "p": ""}


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        GOOD | {"g": "coarse"},
        GOOD | {"d": [["stop", 0, 0, 0]], "k": [None]},
        GOOD | {"d": [["preempt", 0, 0]], "k": [None]},
        GOOD | {"d": [["preempt", 0, True, 0]], "k": [None]},
        GOOD | {"d": [["preempt", 0, 0, 0]]},
        GOOD | {"e": "x"},
        GOOD | {"k": [["f", 0, 0, 0, 0]]},
        GOOD | {"s": 1},
    ],
)
def test_contents_are_checked(body: object) -> None:
    assert decode(packed(GOOD)).subject == "a"
    with pytest.raises(TokenError, match="contents"):
        decode(packed(body))


def test_the_message_says_what_is_the_matter() -> None:
    token = encode(SMALL)
    with pytest.raises(TokenError, match="newer version"):
        decode(token.replace("lmi1.", "lmi2."))
    with pytest.raises(TokenError, match="no token"):
        decode("hello")
    with pytest.raises(TokenError, match="cut or garbled"):
        decode(token[:-4])
    with pytest.raises(TokenError, match="characters that no token has"):
        decode(token[:10] + "!" + token[11:])


def test_a_small_token_cannot_unpack_to_much() -> None:
    with pytest.raises(TokenError, match="unpacks to more"):
        decode(packed("x" * 8_000_000))
    with pytest.raises(TokenError, match="longer than"):
        decode("lmi1." + "A" * 2_000_000)


@pytest.mark.parametrize("event", [object(), float("nan"), {1j: 2}])
def test_an_event_that_is_not_json_has_no_token(event: object) -> None:
    with pytest.raises(TokenError, match="JSON"):
        encode(Replay("a", Granularity.GIL, events=(event,)))
