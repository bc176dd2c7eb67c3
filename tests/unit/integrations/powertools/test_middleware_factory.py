"""Middlewares around handlers that are awaited: users' own, and those of powertools."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from aws_lambda_powertools.middleware_factory import factory, lambda_handler_decorator
from aws_lambda_powertools.middleware_factory.exceptions import MiddlewareInvalidArgumentError
from aws_lambda_powertools.utilities.batch import (
    AsyncBatchProcessor,
    BatchProcessor,
    EventType,
    async_batch_processor,
    batch_processor,
)
from aws_lambda_powertools.utilities.data_classes import SQSEvent, event_source
from aws_lambda_powertools.utilities.parser import BaseModel, envelopes, event_parser
from aws_lambda_powertools.utilities.validation import SchemaValidationError, validator

from lmi_runtime.integrations.safety import make_safe
from tests.support.crowd import LambdaContext, TaskCrowd, ThreadCrowd

make_safe()

current: ContextVar[Any] = ContextVar("current", default=None)


@lambda_handler_decorator
def around(handler: Any, event: Any, context: Any, log: list[Any], twice: bool = False) -> Any:
    """Writes down when its halves run, and where."""
    log.append(("before", event["n"]))
    token = current.set(event["n"])
    try:
        if twice:
            handler(event, context)
        return handler(event, context)
    finally:
        current.reset(token)
        log.append(("after", event["n"]))


def run(handler: Any, event: Any, context: Any = None) -> Any:
    async def call() -> Any:
        return await handler(event, context)

    return asyncio.run(call())


class TestPlainMiddlewares:
    def test_halves_run_around_the_body(self) -> None:
        crowd = TaskCrowd()
        logs: dict[int, list[Any]] = {n: [] for n in range(crowd.count)}

        async def body(event: Any, context: Any) -> Any:
            logs[event["n"]].append(("body", current.get()))
            await crowd.meet()
            logs[event["n"]].append(("end", current.get()))
            return event["n"], asyncio.get_running_loop(), context.aws_request_id

        async def serve(number: int) -> Any:
            handler = around(log=logs[number])(body)
            answer, loop, request = await handler({"n": number}, LambdaContext(number))
            assert loop is asyncio.get_running_loop()
            return answer, request

        assert crowd.serve(serve) == [(n, f"request-{n}") for n in range(crowd.count)]
        for n, log in logs.items():
            assert log == [("before", n), ("body", n), ("end", n), ("after", n)]

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_backends(self, backend: str) -> None:
        log: list[Any] = []

        @around(log=log)
        async def handler(event: Any, context: Any) -> Any:
            await anyio.lowlevel.checkpoint()
            log.append("body")
            return threading.current_thread() is threading.main_thread()

        assert anyio.run(handler, {"n": 1}, None, backend=backend) is True
        assert log == [("before", 1), "body", ("after", 1)]

    def test_the_handler_can_be_called_again(self) -> None:
        calls: list[Any] = []

        @around(log=[], twice=True)
        async def handler(event: Any, context: Any) -> None:
            calls.append(event["n"])

        run(handler, {"n": 1})
        assert calls == [1, 1]

    def test_the_handler_need_not_be_called(self) -> None:
        @lambda_handler_decorator
        def shut(handler: Any, event: Any, context: Any) -> str:
            return "shut"

        @shut
        async def handler(event: Any, context: Any) -> None:
            raise AssertionError

        assert run(handler, {}) == "shut"

    def test_errors_come_through_and_can_be_caught(self) -> None:
        @lambda_handler_decorator
        def catching(handler: Any, event: Any, context: Any) -> Any:
            try:
                return handler(event, context)
            except LookupError:
                return "caught"

        @catching
        async def handler(event: Any, context: Any) -> None:
            raise event["error"]

        assert run(handler, {"error": LookupError()}) == "caught"
        with pytest.raises(ZeroDivisionError):
            run(handler, {"error": ZeroDivisionError()})

    def test_one_upon_another(self) -> None:
        log: list[Any] = []

        @around(log=log)
        @around(log=log)
        async def handler(event: Any, context: Any) -> str:
            log.append("body")
            return "answer"

        assert inspect.iscoroutinefunction(handler)
        assert handler.__name__ == "handler"
        assert run(handler, {"n": 1}) == "answer"
        assert log == [("before", 1)] * 2 + ["body"] + [("after", 1)] * 2

    def test_more_arguments_reach_both(self) -> None:
        @lambda_handler_decorator
        def passing(handler: Any, event: Any, context: Any, own: int, **more: Any) -> Any:
            return own, handler(event, context, **more)

        @passing(own=1)
        async def handler(event: Any, context: Any, more: int) -> int:
            return more

        async def call() -> Any:
            return await handler({}, None, more=2)

        assert asyncio.run(call()) == (1, 2)

    def test_cancellation_runs_the_second_half(self) -> None:
        log: list[Any] = []

        async def main() -> None:
            started = asyncio.Event()

            @around(log=log)
            async def handler(event: Any, context: Any) -> None:
                started.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    log.append("cancelled")

            task = asyncio.ensure_future(handler({"n": 1}, None))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert log == [("before", 1), "cancelled", ("after", 1)]

    def test_handlers_that_run_their_own_loop_stay_as_they_are(self) -> None:
        log: list[Any] = []

        async def body(event: Any, context: Any) -> str:
            log.append("body")
            return "answer"

        @around(log=log)
        @functools.wraps(body)
        def handler(event: Any, context: Any) -> str:
            return asyncio.run(body(event, context))

        assert handler({"n": 1}, None) == "answer"
        assert log == [("before", 1), "body", ("after", 1)]

    def test_plain_wrappers_of_async_handlers(self) -> None:
        log: list[Any] = []

        async def body(event: Any, context: Any) -> str:
            await asyncio.sleep(0)
            log.append("body")
            return "answer"

        @around(log=log)
        @functools.wraps(body)
        def handler(event: Any, context: Any) -> Any:
            return body(event, context)

        assert run(handler, {"n": 1}) == "answer"
        assert log == [("before", 1), "body", ("after", 1)]

    def test_plain_handlers_are_as_they_were(self) -> None:
        crowd = ThreadCrowd()
        logs: dict[int, list[Any]] = {n: [] for n in range(crowd.count)}

        def serve(number: int) -> Any:
            @around(log=logs[number])
            def handler(event: Any, context: Any) -> Any:
                crowd.meet()
                return current.get(), threading.current_thread()

            seen, thread = handler({"n": number}, None)
            assert thread is threading.current_thread()
            return seen

        assert crowd.serve(serve) == list(range(crowd.count))
        assert logs[7] == [("before", 7), ("after", 7)]

    @pytest.mark.parametrize(
        "wrong", [True, functools.partial(print), type("C", (), {"__call__": lambda _: 1})()]
    )
    def test_what_cannot_be_decorated(self, wrong: Any) -> None:
        with pytest.raises(MiddlewareInvalidArgumentError):
            around(wrong)

    def test_partial_of_an_async_function(self) -> None:
        async def body(event: Any, context: Any, more: int) -> None: ...

        with pytest.raises(MiddlewareInvalidArgumentError):
            around(functools.partial(body, more=1))


class TestAsyncMiddlewares:
    def test_natural(self) -> None:
        log: list[Any] = []

        @lambda_handler_decorator
        async def middleware(handler: Any, event: Any, context: Any, own: int) -> Any:
            log.append("before")
            answer = await handler(event, context)
            log.append("after")
            return answer, own

        @middleware(own=3)
        async def handler(event: Any, context: Any) -> str:
            await asyncio.sleep(0)
            log.append("body")
            return "answer"

        assert run(handler, {}) == ("answer", 3)
        assert log == ["before", "body", "after"]

    def test_around_a_plain_handler(self) -> None:
        @lambda_handler_decorator
        async def middleware(handler: Any, event: Any, context: Any) -> Any:
            return "after", handler(event, context)

        @middleware
        def handler(event: Any, context: Any) -> str:
            return "answer"

        assert run(handler, {}) == ("after", "answer")


class Tracer:
    """Notes which subsegments were open when."""

    log: list[Any] = []  # noqa: RUF012

    def __init__(self, **_: Any) -> None:
        self.provider = self

    def in_subsegment(self, name: str) -> Any:
        self.log.append(f"open {name}")
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: Any) -> None:
        self.log.append("close")


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(factory, "Tracer", Tracer)
    Tracer.log = []
    return Tracer.log


@pytest.mark.parametrize("awaited", [False, True])
def test_traces_last_as_long_as_the_body(traced: list[Any], awaited: bool) -> None:
    def plain(handler: Any, event: Any, context: Any) -> Any:
        return handler(event, context)

    async def awaiting(handler: Any, event: Any, context: Any) -> Any:
        return await handler(event, context)

    middleware = awaiting if awaited else plain

    @lambda_handler_decorator(middleware, trace_execution=True)
    async def handler(event: Any, context: Any) -> None:
        traced.append("body")

    run(handler, {})
    assert traced == [f"open ## {middleware.__qualname__}", "body", "close"]


def test_failures_of_awaited_middlewares_are_logged(
    powertools_log: pytest.LogCaptureFixture,
) -> None:
    @lambda_handler_decorator
    async def middleware(handler: Any, event: Any, context: Any) -> Any:
        return await handler(event, context)

    @middleware
    async def handler(event: Any, context: Any) -> None:
        raise LookupError("of the body")

    with pytest.raises(LookupError):
        run(handler, {})
    assert "Caught exception in" in powertools_log.text


SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
}


class TestValidator:
    def test_what_comes_in_and_goes_out(self) -> None:
        crowd = TaskCrowd()

        @validator(inbound_schema=SCHEMA, outbound_schema=SCHEMA, envelope="inner")
        async def handler(event: Any, context: Any) -> Any:
            await crowd.meet()
            return {"n": event["n"] if event["n"] % 2 else "wrong"}

        async def serve(number: int) -> Any:
            try:
                return await handler({"inner": {"n": number}}, None)
            except SchemaValidationError as error:
                return error.path

        assert crowd.serve(serve) == [
            {"n": n} if n % 2 else ["data", "n"] for n in range(crowd.count)
        ]

    def test_what_is_wrong_does_not_come_in(self) -> None:
        @validator(inbound_schema=SCHEMA)
        async def handler(event: Any, context: Any) -> None:
            raise AssertionError

        with pytest.raises(SchemaValidationError):
            run(handler, {"n": "wrong"})

    def test_plain_handlers(self) -> None:
        @validator(inbound_schema=SCHEMA, outbound_schema=SCHEMA)
        def handler(event: Any, context: Any) -> Any:
            return {"n": event["n"] + 1}

        assert handler({"n": 1}, None) == {"n": 2}


class Order(BaseModel):
    n: int


class TestParsedEvents:
    def test_event_parser(self) -> None:
        crowd = TaskCrowd()

        @event_parser
        async def handler(event: Order, context: Any) -> int:
            await crowd.meet()
            return event.n

        async def serve(number: int) -> Any:
            return await handler({"n": str(number)}, None)  # type: ignore[misc]

        assert crowd.serve(serve) == list(range(crowd.count))

    def test_envelopes(self) -> None:
        @event_parser(model=Order, envelope=envelopes.EventBridgeEnvelope)
        async def handler(event: Order, context: Any) -> int:
            return event.n

        event = {
            "version": "0",
            "id": "1",
            "detail-type": "type",
            "source": "source",
            "account": "1",
            "time": "2026-01-01T00:00:00Z",
            "region": "eu-west-1",
            "resources": [],
            "detail": {"n": 3},
        }
        assert run(handler, event) == 3

    def test_event_source(self) -> None:
        crowd = TaskCrowd()

        @event_source(data_class=SQSEvent)
        async def handler(event: SQSEvent, context: Any) -> Any:
            await crowd.meet()
            return [record.message_id for record in event.records]

        async def serve(number: int) -> Any:
            return await handler({"Records": [{"messageId": str(number)}]}, None)  # type: ignore[misc]

        assert crowd.serve(serve) == [[str(n)] for n in range(crowd.count)]


def batch(number: int) -> dict[str, Any]:
    return {
        "Records": [
            {"messageId": f"{number}-{each}", "body": "", "eventSource": "aws:sqs"}
            for each in range(4)
        ]
    }


def failed(number: int) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": f"{number}-{number % 4}"}]}


def fail_some(record: Any) -> None:
    number, each = map(int, record.message_id.split("-"))
    if number % 4 == each:
        raise ValueError(record.message_id)


@pytest.mark.filterwarnings("ignore:The `.*batch_processor` decorator")
class TestBatchDecorators:
    def test_batch_processor(self) -> None:
        crowd = TaskCrowd()
        processor = BatchProcessor(EventType.SQS)

        @batch_processor(record_handler=fail_some, processor=processor)
        async def handler(event: Any, context: Any) -> Any:
            await crowd.meet()
            return processor.response()

        async def serve(number: int) -> Any:
            return await handler(batch(number), LambdaContext(number))

        assert crowd.serve(serve) == [failed(n) for n in range(crowd.count)]

    def test_batch_processor_in_threads(self) -> None:
        crowd = ThreadCrowd()
        processor = BatchProcessor(EventType.SQS)

        @batch_processor(record_handler=fail_some, processor=processor)
        def handler(event: Any, context: Any) -> Any:
            crowd.meet()
            return processor.response()

        def serve(number: int) -> Any:
            return handler(batch(number), LambdaContext(number))

        assert crowd.serve(serve) == [failed(n) for n in range(crowd.count)]

    @pytest.mark.parametrize("plain", [False, True])
    def test_async_batch_processor(self, plain: bool) -> None:
        crowd = TaskCrowd()
        processor = AsyncBatchProcessor(EventType.SQS)

        async def handle(record: Any) -> None:
            if record.message_id.endswith("-1"):
                await crowd.meet()
            fail_some(record)

        async def answer(event: Any, context: Any) -> Any:
            await crowd.meet()
            return processor.response()

        def answer_plainly(event: Any, context: Any) -> Any:
            return processor.response()

        body: Callable[..., Any] = answer_plainly if plain else answer
        handler = async_batch_processor(record_handler=handle, processor=processor)(body)

        async def serve(number: int) -> Any:
            return await handler(batch(number), LambdaContext(number))

        assert crowd.serve(serve) == [failed(n) for n in range(crowd.count)]

    def test_async_batch_processor_in_threads(self) -> None:
        crowd = ThreadCrowd(10)
        processor = AsyncBatchProcessor(EventType.SQS)

        async def handle(record: Any) -> None:
            await asyncio.sleep(0)
            fail_some(record)

        @async_batch_processor(record_handler=handle, processor=processor)
        def handler(event: Any, context: Any) -> Any:
            crowd.meet()
            return processor.response()

        def serve(number: int) -> Any:
            return handler(batch(number), LambdaContext(number))

        assert crowd.serve(serve) == [failed(n) for n in range(crowd.count)]
