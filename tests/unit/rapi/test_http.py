"""Responses from bytes, requests to bytes: properties of the pure half."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmi_runtime.errors import RuntimeApiError
from lmi_runtime.rapi.http import (
    Response,
    ResponseParser,
    build_chunk,
    build_last_chunk,
    build_request,
    header_text,
    quote_id,
)
from tests.support.examples import few

names = st.from_regex(r"X-[A-Za-z0-9-]{1,20}", fullmatch=True)
values = st.from_regex(r"[!-~]([ -~]{0,30}[!-~])?", fullmatch=True)
fields = st.dictionaries(names, values, max_size=5)


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, Response]:
    """Bytes of a response, in one of three framings, and what they mean."""
    status = draw(st.sampled_from([200, 202, 400, 410, 413, 500]))
    body = draw(st.binary(max_size=300))
    extra = draw(fields)
    framing = draw(st.sampled_from(["length", "chunks"]))
    lines = [f"HTTP/1.1 {status} Any", *(f"{name}: {value}" for name, value in extra.items())]
    expected = {name.lower().encode(): value.encode() for name, value in extra.items()}
    if framing == "length":
        lines.append(f"content-LENGTH: {len(body)}")
        expected[b"content-length"] = str(len(body)).encode()
        encoded = body
    else:
        lines.append("Transfer-Encoding: chunked")
        expected[b"transfer-encoding"] = b"chunked"
        size = draw(st.integers(1, 100))
        chunks = [body[at : at + size] for at in range(0, len(body), size)]
        trailers = draw(fields)
        end = build_last_chunk(tuple(trailers.items()))
        encoded = b"".join(map(build_chunk, chunks)) + end
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\n"]))
    head = "\r\n".join([*lines, "", ""]).encode()
    return interim + head + encoded, Response(status, expected, body)


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut `data` at `cuts`."""
    at = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    return [data[start:end] for start, end in pairwise(at)]


@few()
@given(responses(), st.lists(st.integers(0, 800)))
def test_any_split_of_a_response_parses_the_same(
    sent: tuple[bytes, Response], cuts: list[int]
) -> None:
    """The network may cut anywhere; only the last byte completes the response."""
    data, expected = sent
    parser = ResponseParser()
    *early, last = [parser.feed(piece) for piece in pieces(data, cuts)]

    assert early == [None] * len(early)
    assert last == expected
    assert parser.reusable
    assert not parser.started


@few()
@given(st.lists(responses(), min_size=2, max_size=4))
def test_one_connection_carries_many_responses(sent: list[tuple[bytes, Response]]) -> None:
    """Nothing of one is left in the next."""
    parser = ResponseParser()
    for data, expected in sent:
        assert parser.feed(data) == expected
    assert parser.reusable


@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 5\r\n\r\nevent",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nev\r\n3\r\nent\r\n0\r\n\r\n",
    ],
)
def test_a_connection_does_not_hold_on_to_what_it_delivered(framed: bytes) -> None:
    """A waiting poll would otherwise keep the last event's megabytes, for hours perhaps."""
    parser = ResponseParser()
    response = parser.feed(b"HTTP/1.1 200 OK\r\n" + framed)
    assert response is not None
    assert response.body == b"event"
    assert parser._body == []


@few()
@given(responses(), responses())
def test_an_extra_response_is_dropped_with_its_connection(
    first: tuple[bytes, Response], second: tuple[bytes, Response]
) -> None:
    """Kept, it would be the answer to a request that has not been sent."""
    parser = ResponseParser()
    assert parser.feed(first[0] + second[0]) == first[1]
    assert not parser.reusable


@few()
@given(responses(), st.integers(0, 800))
def test_the_end_of_the_stream_never_completes_a_framed_response(
    sent: tuple[bytes, Response], cut: int
) -> None:
    """Part of an event must never pass for the event."""
    data, _ = sent
    cut = min(cut, len(data) - 1)
    parser = ResponseParser()
    if cut:
        assert parser.feed(data[:cut]) is None
        with pytest.raises(RuntimeApiError, match="middle"):
            parser.feed_eof()
    else:
        assert parser.feed_eof() is None
    assert not parser.reusable


@given(st.binary(max_size=200))
def test_a_response_without_framing_ends_with_the_stream(body: bytes) -> None:
    """HTTP allows it; the connection has ended anyway."""
    parser = ResponseParser()
    assert parser.feed(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n" + body) is None
    assert parser.feed_eof() == Response(200, {b"x-a": b"1"}, body)
    assert not parser.reusable


@pytest.mark.parametrize("framing", ["Content-Length: 9", "Transfer-Encoding: chunked"])
def test_a_farewell_that_is_cut_off_is_not_whole(framing: str) -> None:
    """llhttp calls it "not keep-alive" too, like a body that ends with the stream."""
    parser = ResponseParser()
    head = f"HTTP/1.1 200 OK\r\nConnection: close\r\n{framing}\r\n\r\n5\r\nab"
    assert parser.feed(head.encode()) is None
    with pytest.raises(RuntimeApiError, match="middle"):
        parser.feed_eof()


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6))
@example([b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc"])
@example([b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"])
@example([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"])
@example([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"])
@example([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"])
@example([b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"])
@example([b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n"])
def test_garbage_is_never_more_than_a_runtime_api_error(data: list[bytes]) -> None:
    """Whatever comes, the client has one exception to expect."""
    parser = ResponseParser()
    try:
        for piece in data:
            parser.feed(piece)
        parser.feed_eof()
    except RuntimeApiError:
        assert not parser.reusable


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_needs_no_framing(status: int) -> None:
    """It is complete with its head, and the connection lives on."""
    parser = ResponseParser()
    head = f"HTTP/1.1 {status} Any\r\n\r\n".encode()
    assert parser.feed(head) == parser.feed(head) == Response(status, {}, b"")


def test_an_upgrade_nobody_asked_for_is_an_error() -> None:
    """There is nothing to upgrade to."""
    with pytest.raises(RuntimeApiError):
        ResponseParser().feed(b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")


def test_a_farewell_ends_the_connection() -> None:
    """Bytes after it are nobody's."""
    parser = ResponseParser()
    said = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}trailing"
    assert parser.feed(said) == Response(
        413, {b"connection": b"close", b"content-length": b"2"}, b"{}"
    )
    assert not parser.reusable


def test_a_header_without_a_value_is_absent() -> None:
    """Older platforms send empty headers where newer ones send none."""
    parser = ResponseParser()
    response = parser.feed(b"HTTP/1.1 200 OK\r\nX-A:\r\nX-B:  \r\nContent-Length: 0\r\n\r\n")
    assert response == Response(200, {b"content-length": b"0"}, b"")


def test_a_trailer_cannot_pose_as_a_header() -> None:
    """Headers decide which invocation a body belongs to."""
    parser = ResponseParser()
    response = parser.feed(
        b"HTTP/1.1 200 OK\r\nX-Id: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\nx\r\n0\r\nX-Id: b\r\nX-New: c\r\n\r\n"
    )
    assert response == Response(200, {b"x-id": b"a", b"transfer-encoding": b"chunked"}, b"x")


@given(st.text())
def test_no_text_can_leave_its_header(text: str) -> None:
    """A line break in it would be a header of the attacker's choice."""
    safe = header_text(text)
    assert safe.isascii()
    assert safe == "" or safe.isprintable()
    request = build_request("GET", "/", "h", (("X-A", safe),))
    assert request.count(b"\r\n") == 4


@given(st.text(st.characters(max_codepoint=255)))
def test_an_id_comes_back_byte_for_byte_from_the_path(request_id: str) -> None:
    """Ids are echoed in the path, whatever bytes they are made of."""
    quoted = quote_id(request_id)
    assert unquote_to_bytes(quoted) == request_id.encode("latin-1")
    assert not set(quoted) & set("/?# \r\n")


def test_a_request_is_one_piece() -> None:
    """Head and body together make one system call."""
    request = build_request("POST", "/p", "h:1", (("A", "b"),), b"\x00\xff")
    assert request == b"POST /p HTTP/1.1\r\nHost: h:1\r\nA: b\r\nContent-Length: 2\r\n\r\n\x00\xff"
