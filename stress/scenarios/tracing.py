"""Traces of requests at once: the X-Ray SDK, powertools' Tracer, and spans of OpenTelemetry."""

from __future__ import annotations

import asyncio
import atexit
import functools
import json
from collections.abc import Callable
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.context import Request
from lmi_runtime.integrations import make_safe
from stress.scenarios.powertools import LambdaContext
from stress.scenarios.scenario import Budget, Scenario, State
from stress.scenarios.serving import requests, serves

__all__ = [
    "annotations_of_helper_threads",
    "annotations_of_requests",
    "captured_handlers",
    "captured_tasks",
    "flush_of_spans",
    "spans_of_requests",
]

_XRAY = ("lmi_runtime.integrations.xray", "aws_xray_sdk.core")
_TRACER = (*_XRAY, "lmi_runtime.integrations.powertools", "aws_lambda_powertools.tracing")
_OTEL = ("lmi_runtime.integrations.opentelemetry",)


class Sent:
    """What the daemon would have got."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []

    def send_entity(self, entity: Any) -> None:
        """As of the SDK's emitters."""
        self.documents.append(json.loads(entity.serialize()))


@functools.cache
def _recorder() -> Any:
    """One of our own, so that the SDK's stays as it is; with a socket that is never used."""
    make_safe()
    from aws_xray_sdk.core import xray_recorder
    from aws_xray_sdk.core.async_recorder import AsyncAWSXRayRecorder
    from aws_xray_sdk.core.sampling.local.sampler import LocalSampler

    class Recorder(AsyncAWSXRayRecorder):  # type: ignore[misc]
        """Not the SDK's, for powertools: it would set up the SDK's own as well."""

    atexit.register(xray_recorder.emitter._socket.close)  # nobody else does
    recorder = Recorder()
    recorder.emitter._socket.close()
    recorder.configure(sampling=False, sampler=LocalSampler(), streaming_threshold=0)
    return recorder


def _with_recorder() -> State:
    from aws_xray_sdk.core.lambda_launcher import LambdaContext as SdkContext
    from aws_xray_sdk.core.streaming.default_streaming import DefaultStreaming

    state = requests("a", "b")
    state.recorder = _recorder()
    state.recorder.clear_trace_entities()
    state.recorder._streaming = DefaultStreaming(streaming_threshold=0)
    state.recorder._context = SdkContext()  # it would go on with what is open in the former one
    state.sent = state.recorder.emitter = Sent()
    return state


def _warm(setup: Callable[[], State], code: Any) -> Callable[[], State]:
    """What is imported or worked out once a process is."""
    serves("a", code)(setup())
    return setup


def _in_own_trace(state: State, names: set[str]) -> None:
    """Everything that was sent is below the request that it names, by a way of its own."""
    documents = state.sent.documents
    assert {document["name"] for document in documents} == names, documents
    traces: dict[str, Request] = state.requests
    parents: dict[str, str] = {document["id"]: document["name"] for document in documents}
    for document in documents:
        mine = document["name"][0]
        root, parent, _ = str(traces[mine].invocation.trace_id).split(";")
        assert document["trace_id"] == root.removeprefix("Root="), document
        above = parents.get(document["parent_id"], document["parent_id"])
        assert above in (parent.removeprefix("Parent="), document["name"][:-1]), document
        assert document.get("annotations", {}).get("who") == document["name"], document


def _notes(state: State, mine: str) -> None:
    with state.recorder.in_subsegment(mine):
        state.recorder.put_annotation("who", mine)
        with state.recorder.in_subsegment(f"{mine}1"):
            state.recorder.put_annotation("who", f"{mine}1")


async def _notes_between_waits(state: State, mine: str) -> None:
    async def child(name: str) -> None:
        async with state.recorder.in_subsegment_async(name):
            await asyncio.sleep(0)
            state.recorder.put_annotation("who", name)

    async with state.recorder.in_subsegment_async(mine):
        await asyncio.gather(child(f"{mine}1"), child(f"{mine}2"))
        state.recorder.put_annotation("who", mine)


def annotations_of_requests() -> Scenario:
    """Subsegments of a thread, and of the tasks of a request, are in their traces, each whole."""
    setup = _warm(_with_recorder, _notes)

    def own(state: State) -> None:
        _in_own_trace(state, {"a", "a1", "b", "b1", "b2"})

    both = serves("a", _notes), serves("b", _notes_between_waits)
    return Scenario(setup, both, own, _XRAY, Budget(preemptions=1))


def annotations_of_helper_threads() -> Scenario:
    """What helper threads begin is below what their starter had open; all of it is sent once."""
    setup = _warm(_with_recorder, _notes)

    def starts(state: State, mine: str) -> None:
        def helps() -> None:
            with state.recorder.in_subsegment(f"{mine}1"):
                state.recorder.put_annotation("who", f"{mine}1")

        with state.recorder.in_subsegment(mine):
            helper = _sync.Thread(target=helps)
            helper.start()
            state.recorder.put_annotation("who", mine)
        helper.join()

    def once(state: State) -> None:
        names = [document["name"] for document in state.sent.documents]
        assert sorted(names) == ["a", "a1"], names
        _in_own_trace(state, {"a", "a1"})

    return Scenario(setup, (serves("a", starts),), once, _XRAY, Budget(preemptions=2))


def _with_tracer() -> State:
    from aws_lambda_powertools import Tracer

    state = _with_recorder()
    Tracer._reset_config()
    tracer = Tracer(service="shop", disabled=False, auto_patch=False, provider=state.recorder)
    Tracer._reset_config()

    def handle(event: str, context: Any) -> str:
        tracer.put_annotation("who", event)
        return event

    async def handle_async(event: str, context: Any) -> str:
        await asyncio.sleep(0)
        tracer.put_annotation("who", event)
        return event

    state.handle = tracer.capture_lambda_handler(handle)
    state.handle_async = tracer.capture_lambda_handler(handle_async)
    return state


def _handles(state: State, mine: str) -> None:
    state.handle(mine, LambdaContext(mine))


async def _handles_async(state: State, mine: str) -> None:
    await state.handle_async(mine, LambdaContext(mine))


def _captured(state: State) -> None:
    documents = state.sent.documents
    for document in documents:
        mine = document["annotations"]["who"]
        root = str(state.requests[mine].invocation.trace_id).split(";")[0]
        assert document["trace_id"] == root.removeprefix("Root="), document
        kind = document["name"].removeprefix("## ")
        assert document["metadata"]["shop"] == {f"{kind} response": mine}, document
    assert sorted(each["annotations"]["who"] for each in documents) == ["a", "b"], documents


def captured_handlers() -> Scenario:
    """Two handlers at once: each has its subsegment, with its own annotations and response."""
    setup = _warm(_with_tracer, _handles)
    both = serves("a", _handles), serves("b", _handles)
    return Scenario(setup, both, _captured, _TRACER, Budget(preemptions=1))


def captured_tasks() -> Scenario:
    """The same for a task, whose subsegment lasts until it has ended, beside a thread."""
    setup = _warm(_with_tracer, _handles)
    both = serves("a", _handles_async), serves("b", _handles)
    return Scenario(setup, both, _captured, _TRACER, Budget(preemptions=1))


# --------------------------------------------------------------------------- OpenTelemetry


class Spans:
    """A provider that keeps what has ended, and has nothing to flush."""

    def __init__(self) -> None:
        from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

        self.ended: list[Any] = []
        processor = SpanProcessor()
        processor.on_end = self.ended.append  # type: ignore[method-assign]
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(processor)

    def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
        """As of OpenTelemetry's."""
        return self._provider.get_tracer(*args, **kwargs)


def _with_spans() -> State:
    from opentelemetry import trace

    from lmi_runtime.integrations.opentelemetry import traced

    state = requests("a", "b")
    state.spans = Spans()
    tracer = state.spans.get_tracer("scenario")

    def within(name: str) -> None:
        with tracer.start_as_current_span(name):
            trace.get_current_span().set_attribute("who", name)

    async def within_task(name: str) -> None:
        with tracer.start_as_current_span(name):
            await asyncio.sleep(0)
            trace.get_current_span().set_attribute("who", name)

    @traced(tracer_provider=state.spans, parent="xray")
    def handle(event: str, context: Any) -> None:
        trace.get_current_span().set_attribute("who", event)
        within(f"{event}1")

    @traced(tracer_provider=state.spans, parent="xray")
    async def handle_async(event: str, context: Any) -> None:
        await asyncio.gather(within_task(f"{event}1"), within_task(f"{event}2"))
        trace.get_current_span().set_attribute("who", event)

    state.handle, state.handle_async = handle, handle_async
    return state


def spans_of_requests() -> Scenario:
    """Spans of a thread, and of a task and its children, are in the traces of their requests."""
    setup = _warm(_with_spans, _handles)

    def own(state: State) -> None:
        spans = {span.attributes["who"]: span for span in state.spans.ended}
        assert sorted(spans) == ["a", "a1", "b", "b1", "b2"], spans
        for who, span in spans.items():
            root = str(state.requests[who[0]].invocation.trace_id).split(";")[0]
            digits = root.removeprefix("Root=1-").replace("-", "")
            assert f"{span.context.trace_id:032x}" == digits, who
            if len(who) > 1:
                assert span.parent.span_id == spans[who[0]].context.span_id, who

    both = serves("a", _handles), serves("b", _handles_async)
    return Scenario(setup, both, own, _OTEL, Budget(preemptions=1))


def flush_of_spans() -> Scenario:
    """What ended before a flush was asked for is out when it returns; one flush runs at a time."""
    from lmi_runtime.integrations.opentelemetry.flushing import Flusher

    def setup() -> State:
        state = State()
        state.ended, state.out, state.flushing = [], [], []

        def flush(timeout_s: float) -> None:
            assert not state.flushing, "two threads flush at once"
            state.flushing.append(1)
            taken = list(state.ended)
            _sync.sleep(0.001)
            state.out.extend(taken)
            state.flushing.clear()

        state.flusher = Flusher(flush)
        return state

    def ends(name: str) -> Callable[[State], None]:
        def invocation(state: State) -> None:
            state.ended.append(name)
            state.flusher.flush(100.0)
            assert name in state.out, "flushed, and not out"

        return invocation

    def out(state: State) -> None:
        assert set(state.out) == {"a", "b"}, state.out

    return Scenario(setup, (ends("a"), ends("b")), out, _OTEL)
