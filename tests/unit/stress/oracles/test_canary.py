"""Tokens of others are found wherever they are, one's own never are, and no user code runs."""

from __future__ import annotations

import base64
import collections
import enum
import gzip
import json
import re
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.stress.oracles.canary import (
    CanarySet,
    Leak,
    Tokens,
    find_foreign,
    scan,
    tokens_for,
)

EVERYONE = CanarySet(3).by_invocation()
FOREIGN = EVERYONE[2]


@dataclass
class Order:
    user: Any
    notes: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Slotted:
    user: Any


class Plain:
    def __init__(self, user: Any) -> None:
        self.user = user


class Pair(NamedTuple):
    first: Any
    second: Any


class Stored(enum.StrEnum):
    LAST = FOREIGN.text


def forbidden(*_: object, **__: object) -> Any:
    raise AssertionError("code of the user ran")


class Hostile(Plain):
    """Answers nothing that is asked by way of its class."""

    __repr__ = __str__ = __iter__ = __len__ = __eq__ = __hash__ = forbidden  # type: ignore[assignment]
    __getattribute__ = __getattr__ = __bool__ = __reduce__ = __dir__ = forbidden  # type: ignore[assignment]

    @property
    def __class__(self) -> type:
        return forbidden()  # type: ignore[no-any-return]

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return forbidden()


class HostileDict(dict[str, Any]):
    __repr__ = __str__ = __iter__ = __len__ = __eq__ = forbidden  # type: ignore[assignment]
    __getattribute__ = items = keys = values = __getitem__ = forbidden  # type: ignore[assignment]


class HostileList(list[Any]):
    __repr__ = __iter__ = __len__ = __getitem__ = __getattribute__ = forbidden  # type: ignore[assignment]


class HostileText(str):
    __slots__ = ()
    __repr__ = __str__ = lower = __getitem__ = __getattribute__ = encode = forbidden  # type: ignore[assignment]


def to_json(text: str) -> str:
    return json.dumps({"a": [text]})


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ENCODINGS: list[Callable[[str], str]] = [
    to_json,
    in_base64,
    lambda text: quote(text, safe=""),
    lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    lambda text: base64.encodebytes(b"padding " * 20 + text.encode()).decode(),
    lambda text: base64.b64encode(gzip.compress(text.encode())).decode(),
    lambda text: f"2026-01-01 INFO user={text} done",
    lambda text: f"eyJhbGciOiJub25lIn0.{in_base64(to_json(text)).rstrip('=')}.sig",
    str.upper,
]
HOLDERS: list[Callable[[Any], Any]] = [
    lambda thing: [1, thing],
    lambda thing: {"body": thing, "n": 1},
    lambda thing: (None, thing),
    lambda thing: Pair(1, thing),
    lambda thing: collections.OrderedDict(k=thing),
    lambda thing: collections.defaultdict(list, k=thing),
    lambda thing: collections.deque([thing]),
    lambda thing: types.MappingProxyType({"k": thing}),
    lambda thing: types.SimpleNamespace(k=thing),
    Order,
    Slotted,
    Plain,
    Hostile,
    lambda thing: HostileDict(k=thing),
    lambda thing: HostileList([thing]),
    lambda thing: ValueError("no", thing),
    lambda thing: ExceptionGroup("many", [KeyError(thing)]),
]
KINDS: list[Callable[[Tokens], str]] = [
    lambda tokens: tokens.text,
    lambda tokens: tokens.request_id,
    lambda tokens: UUID(tokens.request_id).hex,
    lambda tokens: tokens.own_uuid("00000000-0000-4000-8000-000000000001"),
    lambda tokens: tokens.trace_id,
    lambda tokens: tokens.traceparent,
    lambda tokens: tokens.tenant_id,
]


@given(
    token=st.sampled_from(KINDS),
    encodings=st.lists(st.sampled_from(ENCODINGS[:-1]), max_size=3),
    upper=st.booleans(),
    holders=st.lists(st.sampled_from(HOLDERS), max_size=4),
    as_bytes=st.booleans(),
    around=st.text(max_size=20),
)
def test_a_planted_token_is_found_wherever_it_is(
    token: Callable[[Tokens], str],
    encodings: list[Callable[[str], str]],
    upper: bool,
    holders: list[Callable[[Any], Any]],
    as_bytes: bool,
    around: str,
) -> None:
    for tokens, owners in ((FOREIGN, {2}), (EVERYONE[1], set())):
        text = token(tokens).upper() if upper else token(tokens)
        text = f"{around} {text} {around}"
        for encode in encodings:
            text = encode(text)
        planted: Any = text.encode() if as_bytes else text
        for hold in holders:
            planted = hold(planted)

        assert {leak.owner for leak in find_foreign(EVERYONE, 1, planted)} == owners


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    )
)
def test_what_nobody_planted_is_no_leak(result: Any) -> None:
    assert scan(EVERYONE, None, result).leaks == ()
    assert scan(EVERYONE, None, result).complete


@pytest.mark.parametrize(
    ("result", "path", "decoded"),
    [
        (FOREIGN.text, "result", ()),
        ({"body": {"user": FOREIGN.text}}, "result['body']['user']", ()),
        ({"body": to_json(FOREIGN.text)}, "result['body']['a'][0]", ("json",)),
        ([in_base64(FOREIGN.text)], "result[0]", ("base64",)),
        (in_base64(to_json(FOREIGN.text)), "result['a'][0]", ("base64", "json")),
        (Order(FOREIGN.text), "result.user", ()),
        (Slotted([FOREIGN.text]), "result.user[0]", ()),
        ({FOREIGN.text: 1}, f"result[{FOREIGN.text!r}] (key)", ()),
        ({(1, FOREIGN.text): 1}, "result[<tuple>] (key)[1]", ()),
        ({7: FOREIGN.text}, "result[7]", ()),
        (KeyError(FOREIGN.text), "result.args[0]", ()),
        (quote(f"{FOREIGN.text} ü", safe=""), "result", ()),
    ],
)
def test_the_path_is_the_one_a_person_would_write(
    result: Any, path: str, decoded: tuple[str, ...]
) -> None:
    (leak,) = find_foreign(EVERYONE, 1, result)

    assert (leak.path, leak.owner, leak.kind) == (path, 2, "text")
    assert leak.decoded in (decoded, ("url",))
    assert FOREIGN.text in leak.excerpt
    assert len(leak.excerpt) <= 80


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (Hostile, "result.user"),
        (HostileText, "result"),
        (lambda text: HostileDict(k=HostileList([text])), "result['k'][0]"),
        (lambda text: {1: {2: Hostile([HostileText(text)])}}, "result[1][2].user[0]"),
    ],
)
def test_no_code_of_the_user_runs(make: Callable[[str], Any], path: str) -> None:
    assert [leak.path for leak in find_foreign(EVERYONE, 1, make(FOREIGN.text))] == [path]


def test_all_leaks_are_told_the_nearest_first() -> None:
    leaks = find_foreign(
        EVERYONE, 1, {"deep": [[FOREIGN.text]], "top": f"{EVERYONE[3].text} {FOREIGN.tenant_id}"}
    )

    assert [(leak.path, leak.owner, leak.kind) for leak in leaks] == [
        ("result['top']", 3, "text"),
        ("result['top']", 2, "tenant id"),
        ("result['deep'][0][0]", 2, "text"),
    ]


@pytest.mark.parametrize("before", ["", "x", "xy", "xyz", "key/"])
def test_base64_may_start_anywhere_in_a_word(before: str) -> None:
    (leak,) = find_foreign(EVERYONE, 1, before + in_base64(f"user {FOREIGN.text}"))

    assert leak.decoded == ("base64",)


@pytest.mark.parametrize("escaped", ["%63", "%2563"])
def test_letters_may_be_percent_encoded(escaped: str) -> None:
    (leak,) = find_foreign(EVERYONE, 1, "u=" + FOREIGN.text.replace("c", escaped, 1))

    assert set(leak.decoded) == {"url"}


def test_a_key_that_is_there_twice_hides_nothing() -> None:
    (leak,) = find_foreign(EVERYONE, 1, f'{{"user": "{FOREIGN.text}", "user": "ada"}}')

    assert leak == Leak("result", 2, "text", leak.excerpt)


def test_cycles_and_shared_objects_end() -> None:
    loop: list[Any] = [FOREIGN.text]
    loop.append({"again": loop})
    person = Plain(loop)
    loop.append(person)

    assert [leak.path for leak in find_foreign(EVERYONE, 1, person)] == ["result.user[0]"]


def test_an_error_leaks_through_its_cause() -> None:
    error = RuntimeError("failed")
    error.__cause__ = KeyError(FOREIGN.text)
    error.add_note(FOREIGN.tenant_id)

    found = {leak.path for leak in find_foreign(EVERYONE, 1, error)}
    assert found == {"result.__notes__[0]", "result.__cause__.args[0]"}


def test_classes_and_modules_are_no_part_of_a_result() -> None:
    module = types.ModuleType("app")
    module.last = FOREIGN.text  # type: ignore[attr-defined]
    owner = type("Owner", (), {"last": FOREIGN.text})

    assert find_foreign(EVERYONE, 1, [module, owner, owner(), lambda: FOREIGN.text]) == []


@pytest.mark.parametrize(
    ("limits", "result"),
    [
        ({"max_objects": 3}, [1, 2, 3, FOREIGN.text]),
        ({"max_depth": 2}, [[[[FOREIGN.text]]]]),
        ({"max_chars": 5}, ["abc", FOREIGN.text]),
    ],
)
def test_what_is_too_big_is_said_to_be(limits: dict[str, int], result: Any) -> None:
    cut = scan(EVERYONE, 1, result, **limits)  # type: ignore[arg-type]
    whole = scan(EVERYONE, 1, result)

    assert (cut.leaks, cut.complete) == ((), False)
    assert (len(whole.leaks), whole.complete) == (1, True)


def test_nesting_beyond_any_stack_is_survived() -> None:
    deep: Any = FOREIGN.text
    for _ in range(100_000):
        deep = [deep]

    assert not scan(EVERYONE, 1, deep).complete
    assert find_foreign(EVERYONE, 1, "[" * 100_000 + FOREIGN.text)[0].owner == 2


def test_a_released_view_and_an_empty_slot_are_passed_over() -> None:
    view = memoryview(b"text")
    view.release()
    empty = object.__new__(Slotted)

    assert find_foreign(EVERYONE, 1, [view, empty, bytearray(FOREIGN.text.encode())]) != []


def test_enumerations_of_text_are_read() -> None:
    assert [leak.path for leak in find_foreign(EVERYONE, 1, [Stored.LAST])] == ["result[0]"]


@given(seed=st.integers(), numbers=st.sets(st.integers(1, 10_000), min_size=2, max_size=20))
def test_tokens_are_valid_repeatable_and_all_different(seed: int, numbers: set[int]) -> None:
    made = [tokens_for(number, seed) for number in numbers]

    assert made == [tokens_for(number, seed) for number in numbers]
    needles = [needle for tokens in made for needle, _ in tokens.needles()]
    assert not any(a in b for a in needles for b in needles if a is not b)
    for tokens in made:
        assert str(UUID(tokens.request_id)) == tokens.request_id
        assert UUID(tokens.request_id).version == 4
        header = r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=1"
        assert re.fullmatch(header, tokens.trace_id)
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", tokens.traceparent)
        assert re.fullmatch(rf"canary-{tokens.invocation}-[0-9a-f]{{4}}", tokens.text)


def test_another_seed_makes_other_tokens() -> None:
    assert CanarySet(2, seed=1).by_invocation() != CanarySet(2, seed=2).by_invocation()
    assert CanarySet(2).tokens_for(2) == CanarySet(2).by_invocation()[2]
