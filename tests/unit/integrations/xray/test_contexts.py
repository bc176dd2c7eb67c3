"""Whose trace a task or thread is in, and what is open there."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextvars import Context
from typing import Any

import pytest
from aws_xray_sdk.core.context import Context as SdkContext
from aws_xray_sdk.core.exceptions.exceptions import SegmentNotFoundException
from aws_xray_sdk.core.lambda_launcher import LambdaContext as SdkLambdaContext
from aws_xray_sdk.core.models.dummy_entities import DummySegment
from aws_xray_sdk.core.models.segment import Segment
from aws_xray_sdk.ext.util import inject_trace_header

from lmi_runtime.context import Request, enter, serving
from lmi_runtime.integrations.trace_header import VARIABLE
from lmi_runtime.model import Invocation
from tests.support.crowd import request_of
from tests.support.xray_daemon import Daemon, facts_of, subsegments_of

LOGGER = "lmi_runtime.integrations"


def traced(trace_id: str | None) -> Request:
    return Request(Invocation(request_id="r", trace_id=trace_id))


def in_request(request: Request, function: Any, *args: Any) -> Any:
    def serve() -> Any:
        enter(request)
        return function(*args)

    return Context().run(serve)


# Whose trace.


def test_a_context_that_serves_another_request_starts_anew(on_lambda: Any) -> None:
    """What the first left open is not where the second goes on."""
    for number in (1, 2):
        with serving(request_of(number)):
            on_lambda.begin_subsegment("left open")
            facade = on_lambda.current_segment()
            assert (facade.trace_id, facade.id) == facts_of(number)
            assert len(facade.subsegments) == 1


def test_two_requests_of_one_trace_have_a_parent_each(on_lambda: Any) -> None:
    """A trace passes through a function more than once: a retry, or one that calls itself."""
    for parent in ("00000000000000aa", "00000000000000bb"):
        with serving(traced(f"Root=1-67891233-{1:024x};Parent={parent};Sampled=1")):
            on_lambda.begin_subsegment("left open")
            assert on_lambda.current_segment().id == parent


@pytest.mark.parametrize(("parent", "is_gone_on_with"), [("aa", True), ("bb", False)])
def test_a_subsegment_begun_around_a_request(
    on_lambda: Any, monkeypatch: pytest.MonkeyPatch, parent: str, is_gone_on_with: bool
) -> None:
    """It is gone on with in the same invocation, and not in another one of the same trace."""
    header = f"Root=1-67891233-{1:024x};Parent=%s;Sampled=1"
    monkeypatch.setenv(VARIABLE, header % "aa")
    around = on_lambda.begin_subsegment("around")
    monkeypatch.setenv(VARIABLE, header % parent)
    with serving(traced(header % parent)):
        within = on_lambda.begin_subsegment("within")
        assert on_lambda.current_segment().id == parent
    assert (within.parent_id == around.id) is is_gone_on_with


def test_a_segment_of_the_same_trace_may_be_put_into_a_request(on_lambda: Any) -> None:
    with serving(request_of(1)):
        segment = Segment("own", traceid=facts_of(1)[0], parent_id=facts_of(1)[1])
        on_lambda.set_trace_entity(segment)
        assert on_lambda.current_segment() is segment


def test_an_entity_of_another_request_is_not_gone_on_with(on_lambda: Any) -> None:
    other = in_request(request_of(2), on_lambda.begin_subsegment, "other")
    with serving(request_of(1)):
        on_lambda.set_trace_entity(other)
        assert on_lambda.get_trace_entity().trace_id == facts_of(1)[0]


def test_a_request_shares_one_facade(on_lambda: Any, daemon: Daemon) -> None:
    """Tasks that start before anything is traced still make one tree."""
    request = request_of(3)
    facades = [in_request(request, on_lambda.current_segment) for _ in range(3)]
    assert len(set(map(id, facades))) == 1


def test_a_segment_begun_around_a_request_is_gone_on_with(elsewhere: Any, daemon: Daemon) -> None:
    """As under runtimes that know of no requests, where decorators open one within."""
    with elsewhere.in_segment("around"):
        with serving(request_of(1)), elsewhere.in_subsegment("within"):
            pass
        elsewhere.current_segment().put_annotation("still", 1)
    (document,) = daemon.documents()
    assert document["annotations"] == {"still": 1}
    assert [child["name"] for child in document["subsegments"]] == ["within"]


def test_a_segment_begun_in_a_request_is_not_seen_after_it(elsewhere: Any) -> None:
    elsewhere.configure(context_missing="RUNTIME_ERROR")
    with serving(request_of(1)):
        elsewhere.begin_segment("left open")
    with pytest.raises(SegmentNotFoundException):
        elsewhere.get_trace_entity()
    with serving(request_of(2)), pytest.raises(SegmentNotFoundException):
        elsewhere.get_trace_entity()


@pytest.mark.parametrize(
    "header",
    [None, "", "nonsense", "Root=1-67891233-000000000000000000000001", "Sampled=1"],
)
def test_without_a_whole_header_nothing_is_traced(
    on_lambda: Any, daemon: Daemon, caplog: pytest.LogCaptureFixture, header: str | None
) -> None:
    """And nobody is told for each subsegment that the worker initialises."""

    def handle() -> None:
        with on_lambda.in_subsegment("handler"):
            on_lambda.put_annotation("a", 1)
            with on_lambda.in_subsegment("within") as within:
                within.put_metadata("m", 1)

    in_request(traced(header), handle)
    assert daemon.documents() == []
    assert "initializing" not in caplog.text


def test_an_unsampled_request_sends_nothing_and_says_so_downstream(
    on_lambda: Any, daemon: Daemon
) -> None:
    root = f"1-67891233-{7:024x}"
    headers: dict[str, str] = {}

    def handle() -> None:
        with on_lambda.in_subsegment("handler") as subsegment:
            on_lambda.put_annotation("a", 1)
            inject_trace_header(headers, subsegment)

    in_request(traced(f"Root={root};Parent={1:016x};Sampled=0;Lineage=1:a:0"), handle)
    assert daemon.documents() == []
    assert headers["X-Amzn-Trace-Id"].startswith(f"Root={root};")
    assert "Sampled=0" in headers["X-Amzn-Trace-Id"]
    assert headers["X-Amzn-Trace-Id"].endswith(";Lineage=1:a:0")


def test_a_segment_begun_in_a_request_is_not_seen_after_it_where_one_was_before(
    elsewhere: Any,
) -> None:
    elsewhere.configure(context_missing="RUNTIME_ERROR")
    elsewhere.begin_segment("before")
    with serving(request_of(1)):
        elsewhere.begin_segment("left open")
    with serving(request_of(2)), pytest.raises(SegmentNotFoundException):
        elsewhere.get_trace_entity()


def test_what_was_there_before_requests_is_no_trace_of_theirs(on_lambda: Any) -> None:
    """Code that is imported may already ask for it, and gets a stand-in."""
    assert isinstance(on_lambda.get_trace_entity(), DummySegment)
    with serving(request_of(1)):
        assert on_lambda.get_trace_entity().trace_id == facts_of(1)[0]


def test_a_request_without_a_trace_takes_what_it_is_given(on_lambda: Any, daemon: Daemon) -> None:
    given = in_request(request_of(1), on_lambda.current_segment)

    def handle() -> None:
        on_lambda.set_trace_entity(given)
        with on_lambda.in_subsegment("handler"):
            pass

    in_request(traced(None), handle)
    (document,) = daemon.documents()
    assert (document["trace_id"], document["parent_id"]) == facts_of(1)


# The environment.


def test_requests_are_followed_when_the_environment_says_otherwise(
    on_lambda: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That somebody sets the variable is told once, by its name."""
    monkeypatch.setenv(VARIABLE, "Root=1-67891233-ffffffffffffffffffffffff;Parent=f;Sampled=1")
    for number in (1, 2):
        in_request(request_of(number), on_lambda.begin_subsegment, "a")
        facade = in_request(request_of(number), on_lambda.current_segment)
        assert (facade.trace_id, facade.id) == facts_of(number)
    (warning,) = [r for r in caplog.records if r.name == LOGGER]
    assert warning.levelno == logging.WARNING
    assert VARIABLE in warning.getMessage()


def test_a_runtime_that_serves_one_at_a_time_sets_it_rightly(
    on_lambda: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    request = request_of(4)
    monkeypatch.setenv(VARIABLE, str(request.trace_id))
    assert in_request(request, on_lambda.current_segment).trace_id == facts_of(4)[0]
    assert not [r for r in caplog.records if r.name == LOGGER]


def test_outside_requests_the_environment_is_followed(
    on_lambda: Any, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the SDK does: a trace that is another one leaves what was open behind."""
    for number in (1, 2):
        monkeypatch.setenv(VARIABLE, str(request_of(number).trace_id))
        on_lambda.begin_subsegment("left open")
        with on_lambda.in_subsegment("handler"):
            on_lambda.put_annotation("n", number)
        assert on_lambda.current_segment().id == facts_of(number)[1]
    sent = {(d["trace_id"], d["annotations"]["n"]) for d in daemon.documents()}
    assert sent == {(facts_of(number)[0], number) for number in (1, 2)}


def test_outside_requests_a_missing_context_is_treated_as_configured(
    elsewhere: Any, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere.configure(context_missing="RUNTIME_ERROR")
    with pytest.raises(SegmentNotFoundException):
        elsewhere.put_annotation("a", 1)
    elsewhere.configure(context_missing="LOG_ERROR")
    elsewhere.put_annotation("a", 1)
    assert "cannot find the current segment" in caplog.text
    caplog.clear()
    elsewhere.configure(context_missing="IGNORE_ERROR")
    assert elsewhere.begin_subsegment("a") is None
    assert "cannot find the current segment" not in caplog.text


# What is open.


def test_gathered_functions_are_beside_each_other(on_lambda: Any, daemon: Daemon) -> None:
    """Each ends its own, in whichever order."""
    order = ["c", "a", "b"]
    turns = {name: asyncio.Event() for name in order}

    @on_lambda.capture_async()
    async def step(name: str) -> None:
        on_lambda.put_annotation("name", name)
        await turns[name].wait()
        on_lambda.put_annotation("end", name)
        after = order.index(name) + 1
        if after < len(order):
            turns[order[after]].set()

    async def main() -> None:
        enter(request_of(1))
        async with on_lambda.in_subsegment_async("all"):
            work = asyncio.gather(*(step(name) for name in sorted(order)))
            turns["c"].set()
            await work

    asyncio.run(main())
    *steps, whole = daemon.documents()
    assert [s["annotations"] for s in steps] == [{"name": n, "end": n} for n in order]
    assert {s["parent_id"] for s in steps} == {whole["id"]}


def test_what_ends_before_its_children_is_sent_with_the_last_of_them(
    on_lambda: Any, daemon: Daemon
) -> None:
    """A child that begins after that goes below what is still open."""
    go, begun = asyncio.Event(), asyncio.Event()

    async def outlive() -> None:
        with on_lambda.in_subsegment("early") as early:
            begun.set()
            await go.wait()
            early.put_annotation("late", 1)
        with on_lambda.in_subsegment("after"):
            pass

    async def main() -> None:
        enter(request_of(2))
        with on_lambda.in_subsegment("outermost"):
            with on_lambda.in_subsegment("parent"):
                task = asyncio.create_task(outlive())
                await begun.wait()
            assert daemon.documents() == []
            go.set()
            await task

    asyncio.run(main())
    sent = {document["name"]: document for document in subsegments_of(daemon.documents())}
    assert sent["early"]["annotations"] == {"late": 1}
    assert sent["early"]["parent_id"] == sent["parent"]["id"]
    assert sent["parent"]["parent_id"] == sent["outermost"]["id"]
    assert sent["after"]["parent_id"] == sent["outermost"]["id"]


def test_on_lambda_a_request_is_open_to_the_last(on_lambda: Any, daemon: Daemon) -> None:
    request = request_of(6)

    async def main() -> None:
        enter(request)
        answered = asyncio.Event()

        async def outlive() -> None:
            await answered.wait()
            with on_lambda.in_subsegment("background"):
                pass

        with on_lambda.in_subsegment("handler"):
            task = asyncio.create_task(outlive())
            await asyncio.sleep(0)
        request.end()
        answered.set()
        await task

    asyncio.run(main())
    sent = {document["name"]: document for document in subsegments_of(daemon.documents())}
    assert (sent["background"]["trace_id"], sent["background"]["parent_id"]) == facts_of(6)


def test_what_begins_after_its_segment_has_ended_is_lost_and_said_so(
    elsewhere: Any, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    """The work goes on all the same."""

    async def outlive(ended: asyncio.Event) -> int:
        await ended.wait()
        with elsewhere.in_subsegment("lost"):
            elsewhere.put_annotation("a", 1)
            with elsewhere.in_subsegment("lost too"):
                return 5

    async def main() -> int:
        ended = asyncio.Event()
        with elsewhere.in_segment("segment"), elsewhere.in_subsegment("parent"):
            task = asyncio.create_task(outlive(ended))
            await asyncio.sleep(0)
        ended.set()
        return await task

    assert asyncio.run(main()) == 5
    (document,) = daemon.documents()
    assert [child["name"] for child in document["subsegments"]] == ["parent"]
    assert "lost began after its trace had ended" in caplog.text


def test_what_is_lost_is_not_counted_with_what_is_open(elsewhere: Any, daemon: Daemon) -> None:
    """The segment still waits for the last that it knows of."""
    go, ended = asyncio.Event(), asyncio.Event()

    async def last() -> None:
        with elsewhere.in_subsegment("last"):
            await go.wait()

    async def outlive() -> None:
        await ended.wait()
        with elsewhere.in_subsegment("lost"):
            pass

    async def main() -> None:
        with elsewhere.in_segment("segment"):
            known, unknown = asyncio.create_task(last()), asyncio.create_task(outlive())
            await asyncio.sleep(0)
        ended.set()
        await unknown
        assert daemon.documents() == []
        go.set()
        await known

    asyncio.run(main())
    (document,) = daemon.documents()
    assert [child["name"] for child in document["subsegments"]] == ["last"]


def test_a_thread_is_handed_what_it_goes_on_with(on_lambda: Any, daemon: Daemon) -> None:
    """The documented way, for threads that carry nothing."""

    def help_out(entity: Any) -> None:
        on_lambda.set_trace_entity(entity)
        with on_lambda.in_subsegment("helper"):
            pass
        on_lambda.clear_trace_entities()

    def handle() -> None:
        with on_lambda.in_subsegment("handler") as handler:
            thread = threading.Thread(target=Context().run, args=(help_out, handler))
            thread.start()
            thread.join()
            assert on_lambda.get_trace_entity() is handler

    in_request(request_of(1), handle)
    helper, handler = daemon.documents()
    assert helper["parent_id"] == handler["id"]


def test_what_overlaps_is_ended_by_name_and_not_by_order(on_lambda: Any, daemon: Daemon) -> None:
    def handle() -> None:
        first, second = on_lambda.in_subsegment("first"), on_lambda.in_subsegment("second")
        with on_lambda.in_subsegment("handler"):
            first.__enter__()
            second.__enter__()
            first.__exit__(None, None, None)
            on_lambda.put_annotation("where", "second")
            second.__exit__(ValueError, ValueError("no"), None)
            on_lambda.put_annotation("where", "handler")

    in_request(request_of(1), handle)
    sent = {document["name"]: document for document in subsegments_of(daemon.documents())}
    assert sent["second"]["annotations"] == {"where": "second"}
    assert sent["second"]["fault"] is True
    assert "fault" not in sent["first"]
    assert sent["handler"]["annotations"] == {"where": "handler"}


def test_another_task_may_leave_what_one_entered(on_lambda: Any, daemon: Daemon) -> None:
    """As servers do with what lasts as long as a connection."""
    manager = on_lambda.in_subsegment_async("opened")

    async def enter_it() -> None:
        await manager.__aenter__()

    async def main() -> None:
        enter(request_of(1))
        with on_lambda.in_subsegment("handler"):
            await asyncio.create_task(enter_it())
            await manager.__aexit__(None, None, None)
            on_lambda.put_annotation("where", "handler")

    asyncio.run(main())
    opened, handler = daemon.documents()
    assert (opened["name"], opened["parent_id"]) == ("opened", handler["id"])
    assert handler["annotations"] == {"where": "handler"}


def test_another_task_may_leave_the_last_of_a_segment(elsewhere: Any, daemon: Daemon) -> None:
    async def main() -> None:
        manager = elsewhere.in_subsegment_async("opened")
        with elsewhere.in_segment("segment"):
            await asyncio.create_task(_run(manager.__aenter__))
        assert daemon.documents() == []
        await manager.__aexit__(None, None, None)
        assert elsewhere.context._local.stack() == ()

    asyncio.run(main())
    (document,) = daemon.documents()
    assert [child["name"] for child in document["subsegments"]] == ["opened"]


async def _run(function: Any) -> Any:
    return await function()


# Contexts of others.


class OwnStorage(SdkContext):
    def __init__(self) -> None:
        super().__init__()
        self._local = Storage()


class Storage:
    entities: list[Any]


class OwnWay(SdkContext):
    entity: Any = None

    def put_segment(self, segment: Any) -> None:
        self.entity = segment

    def get_trace_entity(self) -> Any:
        return self.entity


class Unrelated:
    def get_trace_entity(self) -> Any:
        return DummySegment()

    def clear_trace_entities(self) -> None:
        """It keeps none."""


class Polite(SdkContext):
    def put_segment(self, segment: Any) -> None:
        segment.name = segment.name.upper()
        super().put_segment(segment)


@pytest.mark.parametrize("kind", [OwnStorage, OwnWay, Unrelated])
def test_a_context_that_keeps_things_its_own_way_is_named(
    elsewhere: Any, caplog: pytest.LogCaptureFixture, kind: type
) -> None:
    elsewhere.configure(context=kind())
    (warning,) = [r for r in caplog.records if r.name == LOGGER]
    assert kind.__name__ in warning.getMessage()
    elsewhere.clear_trace_entities()


def test_storage_that_a_context_brought_is_used(elsewhere: Any, daemon: Daemon) -> None:
    elsewhere.configure(context=OwnStorage())
    with elsewhere.in_segment("segment"), elsewhere.in_subsegment("within"):
        assert len(elsewhere.context._local.entities) == 2
    (document,) = daemon.documents()
    assert len(document["subsegments"]) == 1


def test_a_derived_context_is_as_safe_as_what_it_is_derived_from(
    elsewhere: Any, daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere.configure(context=Polite())
    in_request(request_of(1), elsewhere.begin_segment, "seen")
    assert elsewhere.context._local.stack() == ()
    assert not [r for r in caplog.records if r.name == LOGGER]


def test_a_new_context_goes_on_with_what_the_former_has_open(
    elsewhere: Any, daemon: Daemon
) -> None:
    """Functions that configure the recorder in each invocation do so in the midst of others."""
    with elsewhere.in_segment("segment"):
        elsewhere.configure(context=SdkContext())
        with elsewhere.in_subsegment("within"):
            pass
    (document,) = daemon.documents()
    assert len(document["subsegments"]) == 1


def test_two_recorders_do_not_share_what_is_open(on_lambda: Any) -> None:
    first, second = SdkLambdaContext(), SdkContext()
    first._local.entities = ["a"]
    assert second._local.stack() == ()


def test_what_is_open_reads_as_a_list(elsewhere: Any) -> None:
    """For contexts derived from the SDK's, which may look at it in any way."""
    local = elsewhere.context._local
    local.entities = ["a"]
    local.note = "kept"
    local.entities.append("b")
    local.entities[0] = "c"
    local.entities.extend("de")
    assert local.entities.pop() == "e"
    del local.entities[1]
    assert list(local.entities) == ["c", "d"]
    assert local.entities[-1] == "d"
    assert local.note == "kept"
    local.clear()
    assert not hasattr(local, "entities")
