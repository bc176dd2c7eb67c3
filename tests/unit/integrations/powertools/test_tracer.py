"""Tracer around everything it can be put around, many at once."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import Context
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import uvloop

pytest.importorskip("aws_lambda_powertools")
pytest.importorskip("aws_xray_sdk")

from aws_lambda_powertools import Tracer
from aws_lambda_powertools.tracing import tracer as tracer_module
from aws_xray_sdk.core.lambda_launcher import LambdaContext as SdkLambdaContext

from lmi_runtime import context
from lmi_runtime.context import enter
from lmi_runtime.integrations import make_safe
from lmi_runtime.integrations.trace_header import VARIABLE
from tests.support.crowd import COUNT, LambdaContext, TaskCrowd, ThreadCrowd, request_of
from tests.support.patience import PATIENCE_S
from tests.support.xray_daemon import Daemon, daemon, facts_of, recording, subsegments_of


@pytest.fixture(autouse=True, scope="module")
def _safe() -> None:
    make_safe()


@pytest.fixture(name="daemon", scope="module")
def _daemon() -> Iterator[Daemon]:
    with daemon() as made:
        yield made


@pytest.fixture
def tracer(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """One as a function makes it on Lambda."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(tracer_module, "is_cold_start", False)
    daemon.forget()
    with recording(daemon, SdkLambdaContext()):
        Tracer._reset_config()
        yield Tracer(service="shop", disabled=False, auto_patch=False)
        Tracer._reset_config()


def by_name(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {document["name"].rpartition(".")[2]: document for document in documents}


def requests_of(documents: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """What was sent for each request of the crowd, in the order in which it was."""
    return [
        [document for document in documents if document["trace_id"] == facts_of(number)[0]]
        for number in range(COUNT)
    ]


def in_request(number: int, function: Callable[[], Any]) -> Any:
    def serve() -> Any:
        enter(request_of(number))
        return function()

    return Context().run(serve)


def run_in_request(number: int, function: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        enter(request_of(number))
        return await function()

    return asyncio.run(main())


# Many at once.


def assert_crowd(documents: list[dict[str, Any]], helpers: int) -> None:
    """Each request's subsegments carry its own number, and hang together."""
    for number, own in enumerate(requests_of(documents)):
        (handler,) = [document for document in own if document["name"] == "## handler"]
        methods = [document for document in own if document is not handler]
        assert len(methods) == helpers
        assert handler["parent_id"] == facts_of(number)[1]
        assert handler["annotations"] == {"ColdStart": False, "Service": "shop", "end": number}
        assert handler["metadata"]["shop"]["handler response"] == {"number": number}
        for method in methods:
            assert method["parent_id"] == handler["id"]
            assert method["annotations"] == {"canary": number}
            assert method["metadata"]["shop"]["canary"] == number
            (response,) = (v for k, v in method["metadata"]["shop"].items() if "response" in k)
            assert response == number


@pytest.mark.parametrize("bare", [True, False])
def test_handlers_in_threads(
    tracer: Any, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, bare: bool
) -> None:
    """Helper threads go on below the handler; without a request of ours it opens one."""
    crowd = ThreadCrowd(bare=bare)
    serves: list[Any] = []

    @tracer.capture_method
    def helper(number: int) -> int:
        crowd.meet()
        tracer.put_annotation("canary", number)
        tracer.put_metadata("canary", number)
        crowd.meet()
        return number

    @tracer.capture_lambda_handler
    def handler(event: dict[str, int], lambda_context: Any) -> dict[str, int]:
        serves.append(context.current())
        thread = threading.Thread(target=helper, args=(event["number"],))
        thread.start()
        helper(event["number"])
        thread.join()
        tracer.put_annotation("end", event["number"])
        return event

    crowd_of_helpers = threading.Barrier(2 * COUNT)
    monkeypatch.setattr(crowd, "meet", lambda: crowd_of_helpers.wait(PATIENCE_S))
    crowd.serve(lambda number: handler({"number": number}, LambdaContext(number)))
    assert {request.request_id for request in serves} == {f"request-{n}" for n in range(COUNT)}
    if not bare:  # there the environment tells the trace, and there is none
        assert_crowd(daemon.documents(), helpers=2)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_handlers_in_tasks(tracer: Any, daemon: Daemon, new_loop: Any) -> None:
    crowd = TaskCrowd()

    @tracer.capture_method
    async def helper(number: int) -> int:
        await asyncio.sleep(0)
        tracer.put_annotation("canary", number)
        tracer.put_metadata("canary", number)
        await asyncio.sleep(0)
        return number

    @tracer.capture_lambda_handler
    async def handler(event: dict[str, int], lambda_context: Any) -> dict[str, int]:
        await crowd.meet()
        await asyncio.gather(*[helper(event["number"]) for _ in range(3)])
        await crowd.meet()
        tracer.put_annotation("end", event["number"])
        return event

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(crowd._all(lambda number: handler({"number": number}, LambdaContext(number))))
    assert_crowd(daemon.documents(), helpers=3)


def test_handlers_in_bare_tasks_open_requests(tracer: Any) -> None:
    crowd = TaskCrowd(bare=True)

    @tracer.capture_lambda_handler
    async def handler(event: int, lambda_context: Any) -> str:
        request = context.current()
        await crowd.meet()
        assert context.current() is request
        return request.request_id

    served = crowd.serve(lambda number: handler(number, LambdaContext(number)))
    assert served == [f"request-{number}" for number in range(COUNT)]


# Handlers.


@pytest.mark.parametrize("is_async", [True, False])
def test_a_cold_start_is_told_by_the_first_that_comes_in(
    tracer: Any, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    """And by no other, whichever ends first."""
    monkeypatch.setattr(tracer_module, "is_cold_start", True)
    crowd = TaskCrowd() if is_async else ThreadCrowd()

    @tracer.capture_lambda_handler
    def handler(event: int, lambda_context: Any) -> None:
        crowd.meet()

    @tracer.capture_lambda_handler
    async def async_handler(event: int, lambda_context: Any) -> None:
        await crowd.meet()  # type: ignore[misc]

    chosen = async_handler if is_async else handler
    crowd.serve(lambda number: chosen(number, LambdaContext(number)))
    told = [document["annotations"]["ColdStart"] for document in daemon.documents()]
    assert sorted(told) == [False] * (COUNT - 1) + [True]


def test_a_cold_start_is_asked_about_by_one_at_a_time(
    tracer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at and then changed; between the two, another would find the same."""
    other = threading.Thread(target=lambda: tracer_module._is_cold_start())
    asked_in_between: list[bool] = []

    def getenv(*_: Any) -> None:
        if not asked_in_between:
            asked_in_between.append(True)
            other.start()
            other.join(0.05)
            asked_in_between.append(not other.is_alive())

    monkeypatch.setattr(tracer_module, "os", SimpleNamespace(getenv=getenv))
    tracer_module._is_cold_start()
    other.join()
    assert asked_in_between == [True, False]


def test_the_one_that_ends_first_need_not_be_cold(
    tracer: Any, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracer_module, "is_cold_start", True)

    @tracer.capture_lambda_handler
    def handler(event: int, lambda_context: Any) -> None:
        tracer.put_annotation("event", event)
        if event == 1:
            in_request(2, lambda: handler(2, LambdaContext(2)))

    in_request(1, lambda: handler(1, LambdaContext(1)))
    told = {d["annotations"]["event"]: d["annotations"]["ColdStart"] for d in daemon.documents()}
    assert told == {1: True, 2: False}


@pytest.mark.parametrize("is_async", [True, False])
def test_what_a_handler_raises_is_noted(
    tracer: Any, daemon: Daemon, powertools_log: pytest.LogCaptureFixture, is_async: bool
) -> None:
    @tracer.capture_lambda_handler
    def handler(event: Any, lambda_context: Any) -> None:
        raise ValueError("no")

    @tracer.capture_lambda_handler
    async def async_handler(event: Any, lambda_context: Any) -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    chosen, serve = (async_handler, run_in_request) if is_async else (handler, in_request)
    with pytest.raises(ValueError, match="no"):
        serve(1, lambda: chosen({}, LambdaContext(1)))
    (document,) = daemon.documents()
    name = document["name"].removeprefix("## ")
    assert f"{name} error" in document["metadata"]["shop"]
    assert document["cause"]["exceptions"][0]["type"] == "ValueError"
    assert document["fault"] is True
    assert document["annotations"] == {"ColdStart": False, "Service": "shop"}
    assert f"Exception received from {name}" in powertools_log.text


def test_a_cancelled_handler_ends_its_subsegment(tracer: Any, daemon: Daemon) -> None:
    @tracer.capture_lambda_handler
    async def handler(event: Any, lambda_context: Any) -> None:
        await anyio.sleep_forever()

    async def cancelled() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await handler({}, LambdaContext(1))

    run_in_request(1, cancelled)
    (document,) = daemon.documents()
    assert document["annotations"]["Service"] == "shop"
    assert document["in_progress"] is False


@pytest.mark.parametrize("where", ["decorator", "environment"])
def test_responses_and_errors_are_left_out_when_asked(
    tracer: Any, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    options = {}
    if where == "decorator":
        options = {"capture_response": False, "capture_error": False}
    else:
        monkeypatch.setenv("POWERTOOLS_TRACER_CAPTURE_RESPONSE", "false")
        monkeypatch.setenv("POWERTOOLS_TRACER_CAPTURE_ERROR", "false")

    @tracer.capture_lambda_handler(**options)
    async def handler(event: str, lambda_context: Any) -> str:
        if event == "fail":
            raise ValueError(event)
        return event

    run_in_request(1, lambda: handler("work", LambdaContext(1)))
    with pytest.raises(ValueError, match="fail"):
        run_in_request(1, lambda: handler("fail", LambdaContext(1)))
    documents = daemon.documents()
    assert len(documents) == 2
    assert all("metadata" not in document for document in documents)


def test_a_handler_below_another_decorator_is_awaited(tracer: Any, daemon: Daemon) -> None:
    """Only what it returns tells that it is an ``async def``."""

    def passing_on(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def passed_on(*args: Any) -> Any:
            return function(*args)

        return passed_on

    @tracer.capture_lambda_handler
    @passing_on
    async def handler(event: int, lambda_context: Any) -> int:
        await asyncio.sleep(0)
        tracer.put_annotation("within", event)
        return event

    async def serve() -> None:
        first, second = handler(1, LambdaContext(1)), handler(2, LambdaContext(1))
        assert await asyncio.create_task(second) == 2
        assert await first == 1

    run_in_request(1, serve)
    second, first = daemon.documents()
    for number, document in ((1, first), (2, second)):
        assert document["annotations"]["within"] == number
        assert document["metadata"]["shop"] == {"handler response": number}
        assert document["parent_id"] == facts_of(1)[1]


def test_a_handler_that_another_decorator_runs_stays_a_plain_one(
    tracer: Any, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As plain runtimes need it, where the environment tells the trace."""
    monkeypatch.setenv(VARIABLE, str(request_of(7).trace_id))

    def running(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any) -> Any:
            return asyncio.run(function(*args))

        return run

    @tracer.capture_method
    async def step(event: int) -> None:
        tracer.put_annotation("within", event)

    @tracer.capture_lambda_handler
    @running
    async def handler(event: int, lambda_context: Any) -> int:
        await asyncio.gather(step(event), step(event))
        return event

    assert handler(3, LambdaContext(3)) == 3
    *steps, document = daemon.documents()
    assert [step["annotations"]["within"] for step in steps] == [3, 3]
    assert {step["parent_id"] for step in steps} == {document["id"]}
    assert document["metadata"]["shop"] == {"handler response": 3}
    assert (document["trace_id"], document["parent_id"]) == facts_of(7)


# Methods.


def test_methods_of_all_kinds(tracer: Any, daemon: Daemon) -> None:
    """Powertools' own, and those of which it takes the beginning for the whole."""

    @tracer.capture_method
    def plain() -> str:
        tracer.put_annotation("in", "plain")
        return "plain"

    @tracer.capture_method
    async def awaited() -> str:
        await asyncio.sleep(0)
        tracer.put_annotation("in", "awaited")
        return "awaited"

    @tracer.capture_method
    @contextmanager
    def managed() -> Iterator[str]:
        yield "managed"

    @tracer.capture_method
    @asynccontextmanager
    async def async_managed() -> AsyncIterator[str]:
        await asyncio.sleep(0)
        yield "async_managed"
        await asyncio.sleep(0)

    @tracer.capture_method(capture_response=False)
    @functools.lru_cache
    def cached() -> str:
        return "cached"

    async def serve() -> None:
        plain()
        await awaited()
        with managed() as result:
            tracer.put_annotation("in", result)
        async with async_managed() as result:
            tracer.put_annotation("in", result)
            plain()
        cached()

    run_in_request(1, serve)
    documents = daemon.documents()
    sent = by_name(documents)
    for name in ("plain", "awaited", "managed", "async_managed"):
        assert sent[name]["annotations"] == {"in": name}
        (response,) = sent[name]["metadata"]["shop"].values()
        assert response == name
    assert sent["plain"]["parent_id"] == sent["async_managed"]["id"]
    assert "metadata" not in sent["cached"]


@pytest.mark.parametrize("kind", ["plain", "awaited", "stream", "async_stream", "async_managed"])
def test_what_a_method_raises_is_noted(tracer: Any, daemon: Daemon, kind: str) -> None:
    @tracer.capture_method
    def plain() -> None:
        raise ValueError("no")

    @tracer.capture_method
    async def awaited() -> None:
        raise ValueError("no")

    @tracer.capture_method
    def stream() -> Iterator[int]:
        yield 1
        raise ValueError("no")

    @tracer.capture_method
    async def async_stream() -> AsyncIterator[int]:
        yield 1
        raise ValueError("no")

    @tracer.capture_method
    @asynccontextmanager
    async def async_managed() -> AsyncIterator[int]:
        yield 1

    async def serve() -> None:
        if kind == "plain":
            plain()
        elif kind == "awaited":
            await awaited()
        elif kind == "stream":
            list(stream())
        elif kind == "async_stream":
            [_ async for _ in async_stream()]
        else:
            async with async_managed():
                raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_in_request(1, serve)
    (document,) = daemon.documents()
    assert document["cause"]["exceptions"][0]["message"] == "no"
    (key,) = document["metadata"]["shop"]
    assert key.endswith(f"{kind} error")


def test_an_async_method_below_another_decorator_is_awaited(tracer: Any, daemon: Daemon) -> None:
    def passing_on(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def passed_on(*args: Any) -> Any:
            return function(*args)

        return passed_on

    @tracer.capture_method
    @passing_on
    async def step(number: int) -> int:
        await asyncio.sleep(0)
        tracer.put_annotation("number", number)
        return number

    async def serve() -> None:
        assert await asyncio.gather(step(1), step(2)) == [1, 2]

    run_in_request(1, serve)
    documents = daemon.documents()
    assert [document["annotations"]["number"] for document in documents] == [1, 2]
    assert {document["parent_id"] for document in documents} == {facts_of(1)[1]}


def test_a_generator_below_another_decorator_is_left_alone(tracer: Any, daemon: Daemon) -> None:
    """It cannot be told what that makes of it."""

    async def inner() -> AsyncIterator[int]:
        yield 1

    @tracer.capture_method
    @functools.wraps(inner)
    def stream() -> AsyncIterator[int]:
        return inner()

    async def serve() -> list[int]:
        return [item async for item in stream()]

    assert run_in_request(1, serve) == [1]


# Generators.


def test_generators_interleave(tracer: Any, daemon: Daemon) -> None:
    """Each writes to its own subsegment, and their consumer to the consumer's."""

    @tracer.capture_method
    def stream(name: str) -> Generator[str, str, str]:
        tracer.put_annotation("begun", name)
        got = yield name
        tracer.put_annotation("got", got)
        yield name
        return f"end of {name}"

    @tracer.capture_method
    def consume() -> None:
        first, second = stream("first"), stream("second")
        next(first)
        next(second)
        tracer.put_annotation("here", "consumer")
        first.send("one")
        second.send("two")
        assert next(first, "ended") == "ended"
        assert next(second, "ended") == "ended"

    in_request(1, consume)
    first, second, consumer = daemon.documents()
    assert first["annotations"] == {"begun": "first", "got": "one"}
    assert second["annotations"] == {"begun": "second", "got": "two"}
    assert consumer["annotations"] == {"here": "consumer"}
    assert {first["parent_id"], second["parent_id"]} == {consumer["id"]}
    assert "end of second" in second["metadata"]["shop"].values()


def test_a_generator_gets_what_is_thrown_in_and_is_closed(tracer: Any, daemon: Daemon) -> None:
    @tracer.capture_method
    def stream() -> Iterator[str]:
        try:
            yield "first"
        except KeyError:
            tracer.put_annotation("thrown", "in")
        try:
            yield "second"
        finally:
            tracer.put_annotation("closed", "here")

    def consume() -> None:
        generator = stream()
        next(generator)
        assert generator.throw(KeyError()) == "second"
        generator.close()

    in_request(1, consume)
    (document,) = daemon.documents()
    assert document["annotations"] == {"thrown": "in", "closed": "here"}


def test_async_generators_interleave(tracer: Any, daemon: Daemon) -> None:
    @tracer.capture_method
    async def stream(name: str) -> Any:
        tracer.put_annotation("begun", name)
        try:
            got = yield name
        except KeyError:
            got = "thrown"
        await asyncio.sleep(0)
        tracer.put_annotation("got", got)
        try:
            yield name
        finally:
            await asyncio.sleep(0)
            tracer.put_annotation("closed", name)

    @tracer.capture_method
    async def consume() -> None:
        async with aclosing(stream("first")) as first, aclosing(stream("second")) as second:
            await first.asend(None)
            await second.asend(None)
            tracer.put_annotation("here", "consumer")
            assert await first.asend("one") == "first"
            assert await second.athrow(KeyError()) == "second"
            assert [item async for item in first] == []

    run_in_request(1, consume)
    documents = daemon.documents()
    annotations = [document["annotations"] for document in documents]
    assert {"begun": "first", "got": "one", "closed": "first"} in annotations
    assert {"begun": "second", "got": "thrown", "closed": "second"} in annotations
    assert annotations[-1] == {"here": "consumer"}
    assert {d["parent_id"] for d in documents[:-1]} == {documents[-1]["id"]}


@pytest.mark.parametrize("is_async", [True, False])
def test_generators_of_fifty_requests(tracer: Any, daemon: Daemon, is_async: bool) -> None:
    """Two in each request, turn by turn with those of all others."""

    @tracer.capture_method
    def stream(number: int, which: int) -> Iterator[int]:
        for turn in range(3):
            tracer.put_annotation(f"turn{turn}", number)
            tracer.put_annotation(f"which{turn}", which)
            yield turn

    @tracer.capture_method
    async def async_stream(number: int, which: int) -> AsyncIterator[int]:
        for turn in range(3):
            tracer.put_annotation(f"turn{turn}", number)
            tracer.put_annotation(f"which{turn}", which)
            await asyncio.sleep(0)
            yield turn

    def consume(number: int) -> None:
        for _ in zip(stream(number, 0), stream(number, 1), strict=True):
            threads.meet()

    async def async_consume(number: int) -> None:
        both = [async_stream(number, which) for which in range(2)]
        for _ in range(4):
            await asyncio.gather(*(anext(one, None) for one in both))
            await tasks.meet()

    if is_async:
        tasks = TaskCrowd()
        tasks.serve(async_consume)
    else:
        threads = ThreadCrowd()
        threads.serve(consume)
    for number, own in enumerate(requests_of(daemon.documents())):
        for document in own:
            which = document["annotations"]["which0"]
            expected = {f"turn{turn}": number for turn in range(3)}
            expected |= {f"which{turn}": which for turn in range(3)}
            assert document["annotations"] == expected
            assert document["parent_id"] == facts_of(number)[1]
        assert len(own) == 2


# Tracers.


def test_a_disabled_tracer_does_nothing(
    daemon: Daemon, tracer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As outside Lambda, or when the environment says so."""
    from aws_xray_sdk import global_sdk_config

    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
    disabled = Tracer(auto_patch=False)

    @disabled.capture_method
    async def step() -> int:
        disabled.put_annotation("a", 1)
        return 1

    @disabled.capture_method
    def stream() -> Iterator[int]:
        yield 1

    @disabled.capture_lambda_handler
    async def handler(event: Any, lambda_context: Any) -> int:
        assert list(stream()) == [1]
        return await step()

    try:
        assert run_in_request(1, lambda: handler({}, LambdaContext(1))) == 1
        assert run_in_request(1, lambda: handler({}, None)) == 1
    finally:
        global_sdk_config.set_sdk_enabled(True)
    assert daemon.documents() == []


class OwnSubsegment:
    def __init__(self, name: str) -> None:
        self.name = name
        self.annotations: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}

    def put_annotation(self, key: str, value: Any) -> None:
        self.annotations[key] = value

    def put_metadata(self, key: str, value: Any, namespace: str) -> None:
        self.metadata[key] = value


class OwnProvider:
    """A provider of somebody's own, as powertools' documentation has it."""

    def __init__(self) -> None:
        self.sent: list[OwnSubsegment] = []

    @contextmanager
    def in_subsegment(self, name: str) -> Iterator[OwnSubsegment]:
        subsegment = OwnSubsegment(name)
        yield subsegment
        self.sent.append(subsegment)

    @asynccontextmanager
    async def in_subsegment_async(self, name: str) -> AsyncIterator[OwnSubsegment]:
        subsegment = OwnSubsegment(name)
        yield subsegment
        self.sent.append(subsegment)


def test_a_provider_of_ones_own(tracer: Any) -> None:
    provider = OwnProvider()
    own = Tracer(provider=provider, disabled=False, auto_patch=False)

    @own.capture_method
    def stream() -> Iterator[int]:
        yield 1

    @own.capture_method
    async def async_stream() -> AsyncIterator[int]:
        yield 1

    @own.capture_lambda_handler
    def handler(event: Any, lambda_context: Any) -> str:
        return "answer"

    @own.capture_lambda_handler
    async def async_handler(event: Any, lambda_context: Any) -> str:
        assert list(stream()) == [1]
        assert [item async for item in async_stream()] == [1]
        return "answer"

    handler({}, LambdaContext(1))
    run_in_request(1, lambda: async_handler({}, LambdaContext(1)))
    sent = {subsegment.name.rpartition(".")[2]: subsegment for subsegment in provider.sent}
    assert len(sent) == 4
    for name in ("## handler", "## async_handler"):
        assert sent[name].annotations["ColdStart"] is False
        assert list(sent[name].metadata.values()) == ["answer"]


class Meeting(dict[str, Any]):
    """A configuration that two threads have written to before either reads it."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.both = threading.Barrier(2)

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        if name == "patch_modules":
            self.both.wait(PATIENCE_S)


def test_tracers_made_at_once_are_what_was_asked_for(
    tracer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracer, "_config", Meeting(Tracer._config))
    made: dict[str, Any] = {}
    providers = {"a": OwnProvider(), "b": OwnProvider()}

    def make(service: str) -> None:
        provider = providers[service]
        made[service] = Tracer(service, disabled=False, auto_patch=False, provider=provider)

    threads = [threading.Thread(target=make, args=(service,)) for service in providers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {service: one.service for service, one in made.items()} == {"a": "a", "b": "b"}
    assert {service: one.provider for service, one in made.items()} == providers


def test_a_tracer_is_what_others_were_where_nothing_is_asked(
    tracer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does powertools; and the environment comes before that."""
    assert Tracer(auto_patch=False, disabled=False).service == "shop"
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "environment")
    assert Tracer(auto_patch=False, disabled=False).service == "environment"


def test_a_tracer_made_before_is_changed_as_well(tracer: Any, daemon: Daemon) -> None:
    """What is changed is the class, in place."""
    assert type(tracer) is Tracer is tracer_module.Tracer


def test_nothing_is_logged_at_warning_by_ours(
    tracer: Any, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    @tracer.capture_lambda_handler
    async def handler(event: Any, lambda_context: Any) -> None:
        with tracer.provider.in_subsegment("## within") as within:
            within.put_annotation("a", 1)

    with caplog.at_level(logging.WARNING):
        run_in_request(1, lambda: handler({}, LambdaContext(1)))
    assert caplog.records == []
    inner, outer = list(subsegments_of(daemon.documents()))
    assert inner["parent_id"] == outer["id"]
