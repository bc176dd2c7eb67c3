"""A stream's first chunk decides; later failures end it; generators are closed on every path."""

from __future__ import annotations

import base64
import functools
import json
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from lmi_runtime.context import current
from lmi_runtime.errors import ConfigurationError, MarshalError
from lmi_runtime.handlers import handler
from lmi_runtime.handlers.streaming import HTTP_STREAM, OCTETS, HttpHead, chunk_of, joined
from lmi_runtime.model import Failure, Outcome, StreamFailed, Streaming, Success

pytestmark = pytest.mark.anyio


async def collect(outcome: Outcome) -> list[bytes]:
    assert isinstance(outcome, Streaming)
    async with aclosing(outcome.chunks) as chunks:
        return [chunk async for chunk in chunks]


class Closing:
    """Items of a stream that notes when it was closed."""

    def __init__(self, *items: Any) -> None:
        self.items = items
        self.closed = 0
        self.made = 0

    async def a(self, event: Any) -> AsyncIterator[Any]:
        try:
            for item in self.items:
                self.made += 1
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.closed += 1

    def s(self, event: Any) -> Iterator[Any]:
        try:
            for item in self.items:
                self.made += 1
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.closed += 1


async def begin(serving: Any, source: Closing, kind: str) -> Outcome:
    if kind == "async":
        outcome: Outcome = await serving(source.a).task()
    else:
        outcome = serving(source.s).thread()
    return outcome


@pytest.fixture(params=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


async def test_items_become_chunks_without_the_empty_ones(serving: Any, kind: str) -> None:
    source = Closing("", b"", "a", bytearray(b"b"), "", memoryview(b"c"), "é")

    outcome = await begin(serving, source, kind)

    assert await collect(outcome) == [b"a", b"b", b"c", "é".encode()]
    assert isinstance(outcome, Streaming)
    assert outcome.content_type == OCTETS
    assert source.closed == 1


async def test_no_more_is_made_than_was_asked_for(serving: Any, kind: str) -> None:
    source = Closing("a", "b", "c")

    outcome = await begin(serving, source, kind)
    assert source.made == 1
    assert isinstance(outcome, Streaming)
    assert await outcome.chunks.__anext__() == b"a"
    assert source.made == 1
    assert await outcome.chunks.__anext__() == b"b"
    assert source.made == 2
    await outcome.chunks.aclose()


@pytest.mark.parametrize("items", [(), ("", b"")])
async def test_empty_stream_is_an_empty_success(
    serving: Any, kind: str, items: tuple[Any, ...]
) -> None:
    source = Closing(*items)
    assert await begin(serving, source, kind) == Success(b"", OCTETS)
    assert source.closed == 1


@pytest.mark.parametrize("error", [ValueError, SystemExit])
async def test_error_before_the_first_byte_is_a_plain_failure(
    serving: Any, kind: str, error: type[BaseException]
) -> None:
    source = Closing("", error("early"))

    outcome = await begin(serving, source, kind)

    assert isinstance(outcome, Failure)
    assert outcome.error_type == f"Function.{error.__name__}"
    assert source.closed == 1


@pytest.mark.parametrize("error", [ValueError, SystemExit])
async def test_error_after_the_first_byte_ends_the_stream(
    serving: Any, kind: str, error: type[BaseException]
) -> None:
    source = Closing("a", error("late"))

    outcome = await begin(serving, source, kind)
    assert isinstance(outcome, Streaming)
    assert await outcome.chunks.__anext__() == b"a"
    with pytest.raises(StreamFailed) as raised:
        await outcome.chunks.__anext__()

    assert raised.value.failure.error_type == f"Function.{error.__name__}"
    assert all(__file__ in frame for frame in raised.value.failure.stack)
    assert source.closed == 1
    with pytest.raises(StopAsyncIteration):
        await outcome.chunks.__anext__()


@pytest.mark.parametrize("item", [3, None, {"a": 1}, "\ud800"])
async def test_item_that_is_no_bytes_is_a_marshal_error(serving: Any, kind: str, item: Any) -> None:
    first, later = Closing(item), Closing("a", item)

    failed = await begin(serving, first, kind)
    outcome = await begin(serving, later, kind)
    assert isinstance(outcome, Streaming)
    await outcome.chunks.__anext__()
    with pytest.raises(StreamFailed) as raised:
        await outcome.chunks.__anext__()

    for failure in (failed, raised.value.failure):
        assert isinstance(failure, Failure)
        assert failure.error_type == "Runtime.MarshalError"
    assert (first.closed, later.closed) == (1, 1)


async def test_generator_that_somebody_else_holds_is_closed_all_the_same(serving: Any) -> None:
    """Without this, garbage collection would hide that nobody closed it."""
    source, held = Closing(3), []

    @functools.wraps(source.s)
    def handler(event: Any) -> Iterator[Any]:
        held.append(source.s(event))
        return held[0]

    assert isinstance(serving(handler).thread(), Failure)
    assert source.closed == 1


@pytest.mark.parametrize("answer", [{"statusCode": 401}, "no", ["a", "b"], None])
@pytest.mark.parametrize("awaited", [False, True])
async def test_decorator_that_answers_in_place_of_a_stream_is_taken_at_its_word(
    serving: Any, kind: str, awaited: bool, answer: Any
) -> None:
    """A check that refuses the caller, say; its dict must not be streamed key by key."""
    stream = Closing("a").a if kind == "async" else Closing("a").s

    async def later() -> Any:
        return answer

    @functools.wraps(stream)
    def guarded(event: Any) -> Any:
        return later() if awaited and kind == "async" else answer

    served = serving(guarded)
    outcome = await served.task() if kind == "async" else served.thread()

    assert outcome == Success(json.dumps(answer).encode())
    assert handler(guarded)({}) == answer


async def test_stream_that_is_given_up_is_closed_once(serving: Any, kind: str) -> None:
    source = Closing("a", "b")
    outcome = await begin(serving, source, kind)
    assert isinstance(outcome, Streaming)

    await outcome.chunks.aclose()
    await outcome.chunks.aclose()

    assert source.closed == 1
    with pytest.raises(StopAsyncIteration):
        await outcome.chunks.__anext__()


async def test_stream_that_is_thrown_into_is_closed(serving: Any, kind: str) -> None:
    source = Closing("a", "b")
    outcome = await begin(serving, source, kind)
    assert isinstance(outcome, Streaming)

    with pytest.raises(LookupError):
        await outcome.chunks.athrow(LookupError("x"))
    assert source.closed == 1


async def test_cancelled_stream_is_closed_and_its_cleanup_may_await(serving: Any) -> None:
    entered, cleaned = anyio.Event(), []

    async def handler(event: Any) -> AsyncIterator[str]:
        try:
            yield "a"
            entered.set()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            cleaned.append(True)

    outcome = await serving(handler).task()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(collect, outcome)
            await entered.wait()
            scope.cancel()

    assert scope.cancelled_caught
    assert cleaned == [True]


async def test_consumer_cancelled_between_chunks_closes_the_stream(serving: Any) -> None:
    """The upload was cancelled, not the generator: its cleanup still gets to await."""
    cleaned = []

    async def handler(event: Any) -> AsyncIterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            await anyio.lowlevel.checkpoint()
            cleaned.append(True)

    outcome = await serving(handler).task()
    assert isinstance(outcome, Streaming)
    with anyio.CancelScope() as scope:
        async with aclosing(outcome.chunks) as chunks:
            await chunks.__anext__()
            scope.cancel()
            await anyio.sleep_forever()

    assert cleaned == [True]


async def test_generator_that_will_not_close_is_given_up(
    serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmi_runtime.handlers.chunks.CLOSE_PATIENCE_S", 0.0)
    stopped = []

    async def handler(event: Any) -> AsyncIterator[str]:
        try:
            yield "a"
        finally:
            try:
                await anyio.sleep_forever()
            finally:
                stopped.append(True)

    outcome = await serving(handler).task()
    assert isinstance(outcome, Streaming)
    await outcome.chunks.aclose()
    assert stopped == [True]


async def test_error_while_closing_is_logged(
    serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def a(event: Any) -> AsyncIterator[str]:
        try:
            yield "a"
        finally:
            raise RuntimeError("cannot clean up")

    def s(event: Any) -> Iterator[str]:
        try:
            yield "a"
        finally:
            raise SystemExit("cannot clean up")

    for outcome in (await serving(a).task(), serving(s).thread()):
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            await outcome.chunks.aclose()
        assert "cannot clean up" in caplog.text


async def test_every_step_of_a_plain_generator_has_its_requests_context(serving: Any) -> None:
    variable: ContextVar[str] = ContextVar("variable")
    threads = set()

    def handler(event: Any, context: Any) -> Iterator[str]:
        variable.set(context.aws_request_id)
        yield "first"
        for _ in range(3):
            threads.add(threading.get_ident())
            yield f"{current().request_id} {variable.get()}"

    outcome = serving(handler).thread()
    assert await collect(outcome) == [b"first", *[b"r1 r1"] * 3]
    assert threading.get_ident() not in threads
    assert variable.get(None) is None


async def test_object_with_a_generator_call(serving: Any) -> None:
    class App:
        async def __call__(self, event: Any, context: Any) -> AsyncIterator[str]:
            yield "a"

    assert await collect(await serving(App()).task()) == [b"a"]


# --------------------------------------------------------------------------- http


async def test_http_head_comes_before_the_body(serving: Any, kind: str) -> None:
    head = HttpHead(status=201, headers={"content-type": "text/plain", "x": "é"}, cookies=["a=1"])
    outcome = await begin(serving, Closing(head, "body"), kind)

    assert isinstance(outcome, Streaming)
    assert outcome.content_type == HTTP_STREAM
    prelude, body = await collect(outcome)
    text, nuls, rest = prelude.partition(bytes(8))
    assert (nuls, rest, body) == (bytes(8), b"", b"body")
    assert json.loads(text) == {
        "statusCode": 201,
        "headers": {"content-type": "text/plain", "x": "é"},
        "cookies": ["a=1"],
    }


async def test_http_head_alone_is_a_stream(serving: Any, kind: str) -> None:
    outcome = await begin(serving, Closing(HttpHead(status=204)), kind)
    assert await collect(outcome) == [b'{"statusCode": 204, "headers": {}}' + bytes(8)]


async def test_http_head_after_the_first_item_is_an_error(serving: Any, kind: str) -> None:
    outcome = await begin(serving, Closing("a", HttpHead()), kind)
    with pytest.raises(StreamFailed, match="first"):
        await collect(outcome)


@pytest.mark.parametrize(
    "fields",
    [
        {"status": 99},
        {"status": 600},
        {"status": True},
        {"status": "200"},
        {"headers": {"a": 1}},
        {"headers": {1: "a"}},
        {"cookies": "a=1"},
        {"cookies": [1]},
    ],
    ids=repr,
)
def test_http_head_checks_its_values(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="HttpHead"):
        HttpHead(**fields)


def test_joined_without_a_head_is_bytes() -> None:
    assert joined([]) == b""
    assert joined(["a", b"b", "é"]) == b"ab\xc3\xa9"


def test_joined_behind_a_head_is_what_a_function_url_takes() -> None:
    assert joined([HttpHead(cookies=["a=1"]), "<p>", "é"]) == {
        "statusCode": 200,
        "headers": {},
        "cookies": ["a=1"],
        "body": "<p>é",
        "isBase64Encoded": False,
    }
    binary = joined([HttpHead(), b"\xff"])
    assert isinstance(binary, dict)
    assert binary["isBase64Encoded"] is True
    assert base64.b64decode(binary["body"]) == b"\xff"


def test_chunk_of_names_the_type() -> None:
    with pytest.raises(MarshalError, match="not dict"):
        chunk_of({})
