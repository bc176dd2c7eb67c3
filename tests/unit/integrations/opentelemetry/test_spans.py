"""A span around each invocation, however many there are at once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import Context
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from lmi_runtime import handler
from lmi_runtime.context import enter
from lmi_runtime.errors import ConfigurationError
from lmi_runtime.handlers import run_shutdown_hooks
from lmi_runtime.handlers.spec import Style, spec_of
from lmi_runtime.integrations.opentelemetry import traced
from tests.support.crowd import COUNT, LambdaContext, TaskCrowd, ThreadCrowd, request_of
from tests.support.otlp_collector import Collector
from tests.support.patience import PATIENCE_S


def check_all_apart(spans: tuple[ReadableSpan, ...], *, children: int) -> None:
    """Every request has one root, the child of its X-Ray parent, and so many spans below it."""
    by_canary: dict[Any, list[ReadableSpan]] = {}
    for span in spans:
        assert span.attributes is not None
        by_canary.setdefault(span.attributes["canary"], []).append(span)
    assert set(by_canary) == set(range(COUNT))
    for number, group in by_canary.items():
        [root] = [each for each in group if "faas.invocation_id" in (each.attributes or {})]
        assert root.attributes is not None
        assert root.attributes["faas.invocation_id"] == f"request-{number}"
        assert root.context.trace_id == (0x67891233 << 96) + number + 1
        assert root.parent is not None
        assert root.parent.span_id == number + 1
        below = [each for each in group if each is not root]
        assert len(below) == children
        assert {each.context.trace_id for each in below} == {root.context.trace_id}
        assert {each.parent and each.parent.span_id for each in below} == {root.context.span_id}


class TestManyAtOnce:
    def test_threads_and_their_helper_threads(
        self, provider: TracerProvider, exporter: InMemorySpanExporter
    ) -> None:
        tracer = provider.get_tracer("test")
        crowd = ThreadCrowd()

        def child(number: int) -> None:
            with tracer.start_as_current_span("child", attributes={"canary": number}):
                pass

        @traced(tracer_provider=provider)
        def handle(number: int, context: Any) -> None:
            trace.get_current_span().set_attribute("canary", number)
            crowd.meet()
            child(number)
            helper = threading.Thread(target=child, args=(number,))
            helper.start()
            helper.join()
            pool.submit(child, number).result()
            crowd.meet()

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            crowd.serve(lambda number: handle(number, None))
        check_all_apart(exporter.get_finished_spans(), children=3)

    def test_tasks_their_child_tasks_and_threads(
        self, provider: TracerProvider, exporter: InMemorySpanExporter
    ) -> None:
        tracer = provider.get_tracer("test")
        crowd = TaskCrowd()

        def child(number: int) -> None:
            with tracer.start_as_current_span("child", attributes={"canary": number}):
                pass

        @traced(tracer_provider=provider)
        async def handle(number: int, context: Any) -> None:
            trace.get_current_span().set_attribute("canary", number)
            await crowd.meet()

            async def task() -> None:
                await crowd.meet()
                child(number)

            await asyncio.gather(task(), asyncio.to_thread(child, number))
            await crowd.meet()

        crowd.serve(lambda number: handle(number, None))
        check_all_apart(exporter.get_finished_spans(), children=2)

    def test_under_other_runtimes_without_a_request(
        self, provider: TracerProvider, exporter: InMemorySpanExporter
    ) -> None:
        crowd = ThreadCrowd(bare=True)

        @traced(tracer_provider=provider)
        def handle(number: int, context: Any) -> None:
            trace.get_current_span().set_attribute("canary", number)
            crowd.meet()

        crowd.serve(lambda number: handle(number, LambdaContext(number)))
        for span in exporter.get_finished_spans():
            assert span.attributes is not None
            assert span.attributes["faas.invocation_id"] == f"request-{span.attributes['canary']}"


def _in_request(number: int, call: Callable[[], Any]) -> Any:
    def body() -> Any:
        request = request_of(number)
        enter(request)
        try:
            return call()
        finally:
            request.end()

    return Context().run(body)


class TestEveryKindOfHandler:
    def test_a_stream_has_a_span_until_its_last_item(
        self, provider: TracerProvider, exporter: InMemorySpanExporter
    ) -> None:
        @handler(concurrency="threads")
        @traced(tracer_provider=provider)
        def handle(event: Any, context: Any) -> Iterator[bytes]:
            for number in range(3):
                trace.get_current_span().add_event(f"item {number}")
                yield b"x"
                assert exporter.get_finished_spans() == ()

        spec = spec_of(handle)
        assert spec is not None
        assert spec.style is Style.STREAM
        _in_request(1, lambda: list(spec.function({}, None)))
        [span] = exporter.get_finished_spans()
        assert [event.name for event in span.events] == ["item 0", "item 1", "item 2"]

    def test_an_async_stream_too(
        self, provider: TracerProvider, exporter: InMemorySpanExporter
    ) -> None:
        @handler
        @traced(tracer_provider=provider)
        async def handle(event: Any, context: Any) -> AsyncIterator[bytes]:
            for number in range(3):
                trace.get_current_span().add_event(f"item {number}")
                yield b"x"
                assert exporter.get_finished_spans() == ()

        spec = spec_of(handle)
        assert spec is not None
        assert spec.style is Style.ASYNC_STREAM

        async def main() -> list[bytes]:
            return [item async for item in spec.function({}, None)]

        assert _in_request(1, lambda: asyncio.run(main())) == [b"x"] * 3
        [span] = exporter.get_finished_spans()
        assert [event.name for event in span.events] == ["item 0", "item 1", "item 2"]

    def test_a_stream_that_is_ended_in_another_context_says_nothing(
        self,
        provider: TracerProvider,
        exporter: InMemorySpanExporter,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        @traced(tracer_provider=provider)
        def handle(event: Any) -> Iterator[int]:
            yield 1
            yield 2

        def begin() -> Iterator[int]:
            enter(request_of(1))
            items = handle({})
            assert next(items) == 1
            return items

        items = Context().run(begin)
        Context().run(items.close)  # type: ignore[attr-defined]
        assert len(exporter.get_finished_spans()) == 1
        assert caplog.records == []

    def test_below_handler_other_runtimes_call_it_as_well(
        self, provider: TracerProvider, exporter: InMemorySpanExporter
    ) -> None:
        @handler
        @traced(tracer_provider=provider)
        async def handle(event: Any) -> str:
            return "answer"

        assert handle({}, LambdaContext(7)) == "answer"
        [span] = exporter.get_finished_spans()
        assert span.attributes is not None
        assert span.attributes["faas.invocation_id"] == "request-7"

    def test_an_async_handler_behind_a_decorator_that_is_none(
        self, provider: TracerProvider, exporter: InMemorySpanExporter
    ) -> None:
        async def inner(event: Any, context: Any) -> str:
            assert trace.get_current_span().is_recording()
            return "answer"

        @functools.wraps(inner)
        def decorated(event: Any, context: Any) -> Any:
            return inner(event, context)

        handle = traced(tracer_provider=provider)(decorated)
        assert _in_request(1, lambda: asyncio.run(handle({}, None))) == "answer"
        assert len(exporter.get_finished_spans()) == 1

    def test_what_runs_a_handler_to_its_end_is_plain(
        self, provider: TracerProvider, exporter: InMemorySpanExporter
    ) -> None:
        async def inner(event: Any, context: Any) -> str:
            assert trace.get_current_span().is_recording()
            return "answer"

        @functools.wraps(inner)
        def to_its_end(event: Any, context: Any) -> Any:
            return asyncio.run(inner(event, context))

        handle = traced(tracer_provider=provider)(to_its_end)
        assert _in_request(1, lambda: handle({}, None)) == "answer"
        assert len(exporter.get_finished_spans()) == 1

    def test_generators_behind_a_decorator_that_is_none(
        self, provider: TracerProvider, exporter: InMemorySpanExporter
    ) -> None:
        def generator(*_: Any) -> Any:
            assert trace.get_current_span().is_recording()
            yield 1

        async def async_generator(*_: Any) -> Any:
            assert trace.get_current_span().is_recording()
            yield 2

        async def read(parts: Any) -> list[int]:
            return [part async for part in parts]

        decorate = traced(tracer_provider=provider)
        assert list(decorate(lambda *args: generator(*args))({}, None)) == [1]
        parts = decorate(lambda *args: async_generator(*args))({}, None)
        assert asyncio.run(read(parts)) == [2]
        assert len(exporter.get_finished_spans()) == 2

    def test_trio(self, provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
        @traced(tracer_provider=provider, flush="invocation")
        async def handle(event: Any, context: Any) -> str:
            await anyio.lowlevel.checkpoint()
            return "answer"

        result = _in_request(1, lambda: anyio.run(handle, {}, None, backend="trio"))
        assert result == "answer"
        assert len(exporter.get_finished_spans()) == 1


class TestWhatBecomesOfIt:
    def test_an_exception_makes_it_an_error(
        self, provider: TracerProvider, exporter: InMemorySpanExporter
    ) -> None:
        @traced(tracer_provider=provider)
        def handle(event: Any, context: Any) -> None:
            raise ZeroDivisionError("oops")

        with pytest.raises(ZeroDivisionError):
            _in_request(1, lambda: handle({}, None))
        [span] = exporter.get_finished_spans()
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "ZeroDivisionError: oops"
        assert span.attributes is not None
        assert span.attributes["error.type"] == "ZeroDivisionError"
        assert [event.name for event in span.events] == ["exception"]

    def test_so_does_the_deadline(
        self, provider: TracerProvider, exporter: InMemorySpanExporter
    ) -> None:
        @traced(tracer_provider=provider, flush="invocation")
        async def handle(event: Any, context: Any) -> None:
            await anyio.sleep_forever()

        async def main() -> None:
            with anyio.move_on_after(0) as scope:
                await handle({}, None)
            assert scope.cancelled_caught

        _in_request(1, lambda: asyncio.run(main()))
        [span] = exporter.get_finished_spans()
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes is not None
        assert span.attributes["error.type"] == "asyncio.exceptions.CancelledError"

    @pytest.mark.parametrize(("status", "is_error"), [(200, False), (404, False), (502, True)])
    def test_the_answer_to_an_api(
        self, provider: TracerProvider, exporter: InMemorySpanExporter, status: int, is_error: bool
    ) -> None:
        @traced(tracer_provider=provider)
        def handle(event: Any, context: Any) -> dict[str, int]:
            return {"statusCode": status}

        _in_request(1, lambda: handle({"httpMethod": "GET"}, None))
        [span] = exporter.get_finished_spans()
        assert span.attributes is not None
        assert span.attributes["http.response.status_code"] == status
        assert (span.status.status_code is StatusCode.ERROR) is is_error

    @pytest.mark.parametrize("option", [{"parent": "b3"}, {"flush": "later"}])
    def test_options_that_make_no_sense(self, option: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(option))):
            traced(**option)

    def test_before_there_is_a_provider_nothing_happens(self) -> None:
        handle = traced(lambda event, context: trace.get_current_span().is_recording())
        assert _in_request(1, lambda: handle({}, None)) is False


class TestFlushing:
    def test_the_answer_waits_for_the_collector(self) -> None:
        with Collector() as collector, _batching(collector) as provider:

            @traced(tracer_provider=provider, flush="invocation")
            def handle(event: Any, context: Any) -> None: ...

            crowd = ThreadCrowd(8)

            def serve(number: int) -> set[str]:
                handle({}, None)
                return {_invocation_of(span) for span in collector.spans}

            for number, seen in enumerate(crowd.serve(serve)):
                assert f"request-{number}" in seen

    def test_tasks_wait_too_and_do_not_hold_up_the_loop(self) -> None:
        with Collector() as collector, _batching(collector) as provider:

            @traced(tracer_provider=provider, flush="invocation")
            async def handle(event: Any, context: Any) -> None: ...

            crowd = TaskCrowd(8)

            async def serve(number: int) -> set[str]:
                await handle({}, None)
                return {_invocation_of(span) for span in collector.spans}

            for number, seen in enumerate(crowd.serve(serve)):
                assert f"request-{number}" in seen
            assert collector.exports <= 8

    def test_in_the_background_they_leave_when_the_process_stops(self) -> None:
        with Collector() as collector, _batching(collector) as provider:

            @traced(tracer_provider=provider)
            def handle(event: Any, context: Any) -> None: ...

            _in_request(3, lambda: handle({}, None))
            assert collector.spans == []
            asyncio.run(run_shutdown_hooks(10.0))
            assert [_invocation_of(span) for span in collector.spans] == ["request-3"]

    def test_what_there_was_no_time_for_is_named(self, caplog: pytest.LogCaptureFixture) -> None:
        release = threading.Event()

        class Hanging(TracerProvider):
            def force_flush(self, timeout_millis: int = 30000) -> bool:
                return release.wait(PATIENCE_S)

        provider = Hanging(shutdown_on_exit=False)
        handle = traced(tracer_provider=provider)(lambda event, context: None)
        _in_request(1, lambda: handle({}, None))
        asyncio.run(run_shutdown_hooks(0.01))
        release.set()
        assert "sending the spans that were left" in caplog.text
        provider.shutdown()

    def test_a_collector_that_is_gone_costs_a_line_and_no_answer(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken(TracerProvider):
            def force_flush(self, timeout_millis: int = 30000) -> bool:
                raise OSError("gone")

        provider = Broken(shutdown_on_exit=False)
        handle = traced(tracer_provider=provider, flush="invocation")(lambda event, context: "fine")
        assert _in_request(1, lambda: handle({}, None)) == "fine"
        assert [record.getMessage() for record in caplog.records] == [
            "The spans of request request-1 could not be sent."
        ]
        provider.shutdown()


class _batching:
    """A provider that exports when told to, and hardly ever by itself."""

    def __init__(self, collector: Collector) -> None:
        self._provider = TracerProvider(shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=collector.url)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, schedule_delay_millis=600_000)
        )

    def __enter__(self) -> TracerProvider:
        return self._provider

    def __exit__(self, *_: object) -> None:
        self._provider.shutdown()


def _invocation_of(span: Any) -> str:
    [found] = [each for each in span.attributes if each.key == "faas.invocation_id"]
    return str(found.value.string_value)
