"""The default codec is awslambdaric's marshaller, byte for byte, without its dependency."""

from __future__ import annotations

import collections
import datetime
import enum
import json
import math
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
import simplejson
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller
from hypothesis import example, given
from hypothesis import strategies as st

from lmi_runtime.errors import ConfigurationError, MarshalError, UnmarshalError
from lmi_runtime.handlers.codec import (
    BYTES,
    JSON,
    CustomCodec,
    JsonCodec,
    codec_for,
    escapes_non_ascii,
)
from tests.support.examples import few

EXECUTION_ENVS = [None, "AWS_Lambda_python3.11", "AWS_Lambda_python3.13", "AWS_Lambda_Image"]


class Point(NamedTuple):
    x: Any
    y: Any


class Number(enum.IntEnum):
    ONE = 1


class Word(enum.StrEnum):
    HELLO = "héllo"


class OddFloat(float):
    def __repr__(self) -> str:
        return "odd"


class OddInt(int):
    def __str__(self) -> str:
        return "odd"


class FakeTuple:
    def _asdict(self) -> dict[str, int]:
        return {"a": 1}


class BadTuple:
    def _asdict(self) -> list[int]:
        return [1]


class ShyTuple:
    def _asdict(self, required: int) -> dict[str, int]:
        return {"a": required}


class Doubling(dict[str, int]):
    def items(self) -> Any:
        return [(key, value * 2) for key, value in super().items()]


class Phantom(dict[str, int]):
    """Empty, whatever it says: simplejson asks for its size first."""

    def items(self) -> Any:
        return [("ghost", 1)]


@pytest.fixture(params=EXECUTION_ENVS, ids=str)
def both(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[JsonCodec, LambdaMarshaller]:
    """Our codec and awslambdaric's, made in the same environment."""
    if request.param is None:
        monkeypatch.delenv("AWS_EXECUTION_ENV", raising=False)
    else:
        monkeypatch.setenv("AWS_EXECUTION_ENV", request.param)
    return JsonCodec(), LambdaMarshaller()


def outcome(work: Callable[[], Any]) -> Any:
    """What `work` returned, or the text of its error."""
    try:
        return work()
    except (MarshalError, UnmarshalError) as exc:
        return f"error: {exc}"
    except Exception as exc:
        return f"error: {exc.msg}"  # type: ignore[attr-defined]


def theirs_encoded(marshaller: LambdaMarshaller, value: Any) -> Any:
    """What awslambdaric would post: its client encodes text as UTF-8."""
    body, content_type = marshaller.marshal_response(value)
    return (body if isinstance(body, bytes) else body.encode(), content_type)


def assert_same_encoding(codec: JsonCodec, marshaller: LambdaMarshaller, value: Any) -> None:
    assert outcome(lambda: codec.encode(value)) == outcome(
        lambda: theirs_encoded(marshaller, value)
    )


# Lone surrogates are in: they escape to ASCII and cannot go out in UTF-8 (see below).
texts = st.text(st.characters(codec="utf-8")) | st.sampled_from(
    ["\u2028\u2029", "\x7f", "\x00", "😀"]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.decimals()
    | st.binary(max_size=4)
    | st.sampled_from([Number.ONE, Word.HELLO, OddFloat(1.5), OddFloat("nan"), OddInt(7)])
    | st.dates()
    | st.sampled_from([FakeTuple(), BadTuple(), ShyTuple(), Point, simplejson.RawJSON("raw")])
)
keys = (
    texts
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
    | st.sampled_from([b"k", b"\xff", Number.ONE, Word.HELLO, OddInt(7), OddFloat(1.5)])
    | st.tuples(st.integers())
    | st.decimals(allow_nan=False)
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    plain_keys = st.dictionaries(texts, inner, max_size=4)
    return (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | plain_keys
        | plain_keys.map(collections.OrderedDict)
        | st.dictionaries(keys, inner, max_size=3)
        | st.builds(Point, inner, inner)
    )


values = st.recursive(scalars, containers, max_leaves=12)


@pytest.mark.parametrize("execution_env", EXECUTION_ENVS)
@given(value=values)
@example(value={1: "a", "1": "b", b"1": "c"})
@example(value=datetime.datetime(2026, 1, 1))
@example(value={1, 2})
@example(value=[Doubling(a=1), Phantom(), Phantom(a=1)])
@example(value=10**5000)
@example(value=[1e16, 1e22, -0.0, 5e-324, math.inf, -math.inf, math.nan])
@example(value=[Decimal("1.10"), Decimal("1E+2"), Decimal("-NaN"), Decimal("sNaN")])
@example(value=memoryview(b"x"))
@example(value=bytearray(b"x"))
@example(value=[b"\xff"])
@example(value=1j)
def test_result_is_encoded_as_awslambdaric_does(execution_env: str | None, value: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_EXECUTION_ENV", execution_env or "")
        assert_same_encoding(JsonCodec(), LambdaMarshaller(), value)


def test_container_inside_itself_is_the_same_error(
    both: tuple[JsonCodec, LambdaMarshaller],
) -> None:
    loop: list[Any] = []
    loop.append({"inner": (loop,)})
    tuple_loop: list[Any] = []
    tuple_loop.append(Point(tuple_loop, 1))

    assert_same_encoding(*both, loop)
    assert_same_encoding(*both, tuple_loop)


def test_shared_but_not_circular_parts_are_fine(both: tuple[JsonCodec, LambdaMarshaller]) -> None:
    shared = Point([1], {"a": 1})
    assert_same_encoding(*both, [shared, shared, {"again": shared}])


@pytest.mark.parametrize("depth", [10, 100, 400])
@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"a": v}, lambda v: Point(v, 1)])
def test_deep_nesting_is_encoded(
    both: tuple[JsonCodec, LambdaMarshaller], depth: int, wrap: Callable[[Any], Any]
) -> None:
    value: Any = 1
    for _ in range(depth // 4 if wrap(1) == Point(1, 1) else depth):
        value = wrap(value)
    assert_same_encoding(*both, value)


def test_bottomless_nesting_is_an_error_and_no_crash() -> None:
    value: Any = Point(1, 2)
    for _ in range(100_000):
        value = [value]
    with pytest.raises(MarshalError, match="recursion"):
        JsonCodec().encode(value)
    del_iteratively(value)


def del_iteratively(value: Any) -> None:
    """Take a very deep list apart; letting it go at once may overflow the stack."""
    while isinstance(value, list):
        value = value.pop()


def test_lone_surrogate_that_utf8_cannot_carry_is_a_marshal_error() -> None:
    """awslambdaric's client raises there, outside its error handling, and its process ends."""
    with pytest.raises(MarshalError, match="surrogates not allowed"):
        JsonCodec(ensure_ascii=False).encode("\ud800")
    assert JsonCodec(ensure_ascii=True).encode("\ud800") == (b'"\\ud800"', JSON)


def test_bytes_go_out_as_they_are(both: tuple[JsonCodec, LambdaMarshaller]) -> None:
    codec, _ = both
    assert codec.encode(b"\x00\xff") == (b"\x00\xff", BYTES)
    assert_same_encoding(*both, b"\x00\xff")


def test_plain_values_take_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*args: Any) -> str:
        pytest.fail("a plain value was encoded in Python")

    monkeypatch.setattr("lmi_runtime.handlers.codec.encode_exact", slow)
    body, _ = JsonCodec().encode({"a": [1, 2.5, None, True, "x", ("t",)], "b": {}})
    assert body == b'{"a": [1, 2.5, null, true, "x", ["t"]], "b": {}}'


# --------------------------------------------------------------------------- events


def assert_same_decoding(body: bytes, content_type: str = JSON) -> None:
    ours = outcome(lambda: JsonCodec().decode(body, content_type))
    theirs = outcome(lambda: LambdaMarshaller().unmarshal_request(body, content_type))
    if isinstance(theirs, str) and theirs.startswith("error: "):
        # The two parsers word some errors differently; both have to call it one.
        assert str(ours).startswith("error: Unable to unmarshal input: "), (ours, theirs)
    else:
        # repr tells -0.0, NaN, 1 and True apart, and the order of keys.
        assert repr(ours) == repr(theirs)


@few()
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    ),
    ensure_ascii=st.booleans(),
    indent=st.none() | st.integers(0, 2),
)
def test_events_are_decoded_as_awslambdaric_does(
    value: Any, ensure_ascii: bool, indent: int | None
) -> None:
    """Lone surrogates, NaN, Infinity, big numbers: the same value, or an error from both."""
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)
    assert_same_decoding(text.encode("utf-8", "surrogatepass"))


@given(body=st.binary(max_size=40))
def test_any_bytes_are_decoded_or_refused_as_by_awslambdaric(body: bytes) -> None:
    assert_same_decoding(body)


@given(
    pieces=st.lists(
        st.sampled_from(
            ['{', '}', '[', ']', ',', ':', '"', '\\', '\\u', '\\ud83d', '\\ude00', '"a"', '1', '-',
             '0', '.', 'e', '+', 'null', 'true', 'NaN', 'Infinity', ' ', '\n', '\t', '\ufeff',
             'ï»¿', '\x00', '\x0b', 'é', '٣']
        ),
        max_size=12,
    )
)  # fmt: skip
def test_fragments_of_json_are_decoded_or_refused_as_by_awslambdaric(pieces: list[str]) -> None:
    assert_same_decoding("".join(pieces).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{}",
        b" {} ",
        b"\xef\xbb\xbf{}",
        b"\xef\xbb\xbf {}",
        b"\xff\xfe{\x00}\x00",
        b"\xff",
        b"{} x",
        b'{"a": 1, "a": 2, "b": 3}',
        b"[1,]",
        b"1" * 5000,
        b"1e400",
        b"-0",
        b"-0.0",
        b"1E5",
        b"01",
        b'"\\ud800"',
        b'"\\ud83d\\ude00"',
        b'"\xed\xa0\x80"',
        b'"\t"',
        b"NaN",
        b"-Infinity",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda body: repr(body[:16]),
)
def test_odd_events(body: bytes) -> None:
    assert_same_decoding(body)


def test_empty_event_is_the_same_error_as_awslambdaric() -> None:
    with pytest.raises(UnmarshalError) as raised:
        JsonCodec().decode(b"")
    assert str(raised.value) == (
        "Unable to unmarshal input: Expecting value: line 1 column 1 (char 0)"
    )
    assert raised.value.error_type == "Runtime.UnmarshalError"


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/json; x=y", ""])
def test_other_content_types_are_handed_over_as_bytes(content_type: str) -> None:
    assert_same_decoding(b"\xff{}", content_type)
    assert JsonCodec().decode(b"\xff{}", content_type) == b"\xff{}"


# --------------------------------------------------------------------------- serializers


def test_only_awss_own_images_from_3_12_leave_text_unescaped() -> None:
    assert not escapes_non_ascii({"AWS_EXECUTION_ENV": "AWS_Lambda_python3.13"})
    assert escapes_non_ascii({"AWS_EXECUTION_ENV": "AWS_Lambda_Image"})
    assert escapes_non_ascii({})


def test_orjson_by_name() -> None:
    codec = codec_for("orjson")
    assert codec.encode({"at": datetime.datetime(2026, 1, 1)}) == (
        b'{"at":"2026-01-01T00:00:00"}',
        JSON,
    )
    assert codec.decode(b'{"a": 1}', JSON) == {"a": 1}


def test_orjson_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "orjson", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'lmi_runtime\[orjson\]'"):
        codec_for("orjson")


def test_orjson_refuses_and_the_error_is_the_invocations() -> None:
    codec = codec_for("orjson")
    with pytest.raises(MarshalError, match="Unable to marshal response: "):
        codec.encode(object())
    with pytest.raises(UnmarshalError, match="Unable to unmarshal input: "):
        codec.decode(b"{", JSON)


def test_module_with_dumps_and_loads() -> None:
    codec = codec_for(json)
    assert codec.encode({"a": "é"}) == (b'{"a": "\\u00e9"}', JSON)
    assert codec.decode(b"NaN", JSON) is not None


def test_function_that_encodes_leaves_events_to_the_default() -> None:
    codec = codec_for(lambda value: f"<{value}>")
    assert codec.encode(1) == (b"<1>", JSON)
    assert codec.encode(b"1") == (b"1", BYTES)
    assert codec.decode(b'{"a": 1}', JSON) == {"a": 1}
    assert codec.decode(b"raw", "text/plain") == b"raw"


@pytest.mark.parametrize("serializer", [None, "json"])
def test_default_serializer(serializer: object) -> None:
    assert isinstance(codec_for(serializer), JsonCodec)


@pytest.mark.parametrize("serializer", ["msgpack", 3, object()])
def test_serializer_that_cannot_encode_is_refused(serializer: object) -> None:
    with pytest.raises(ConfigurationError, match="cannot encode"):
        codec_for(serializer)


def test_serializer_that_returns_nonsense_is_a_marshal_error() -> None:
    with pytest.raises(MarshalError):
        CustomCodec(lambda value: object()).encode(1)  # type: ignore[arg-type, return-value]
