"""Fifty requests at once, each with tasks and threads of its own, on one recorder."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trio
import uvloop

from lmi_runtime.context import enter, spawn_thread
from tests.support.crowd import COUNT, TaskCrowd, ThreadCrowd, request_of
from tests.support.xray_daemon import Daemon, facts_of, subsegments_of

HELPERS = 3


def work_in_threads(recorder: Any, number: int, meet: Callable[[], None]) -> None:
    """What a request does: a subsegment, and below it one for each of three helper threads."""

    @recorder.capture("helper")
    def help_out(helper: int) -> None:
        recorder.put_annotation("canary", number)
        with recorder.in_subsegment("deep"):
            recorder.put_annotation("canary", number)
            recorder.put_metadata("helper", helper)

    with recorder.in_subsegment("handler"):
        meet()
        plain = threading.Thread(target=help_out, args=(0,))
        plain.start()
        ours = spawn_thread(help_out, 1)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(help_out, 2).result()
        meet()
        plain.join()
        ours.join()
        recorder.put_annotation("canary", number)
        meet()


async def work_in_tasks(recorder: Any, number: int, meet: Callable[[], Any]) -> None:
    """The same with tasks, which all have their subsegments open at once."""
    together = asyncio.Barrier(HELPERS)

    @recorder.capture_async("helper")
    async def help_out(helper: int) -> None:
        await together.wait()
        recorder.put_annotation("canary", number)
        async with recorder.in_subsegment_async("deep"):
            await together.wait()
            recorder.put_annotation("canary", number)
            recorder.put_metadata("helper", helper)

    async with recorder.in_subsegment_async("handler"):
        await meet()
        await asyncio.gather(*map(help_out, range(HELPERS)))
        await meet()
        recorder.put_annotation("canary", number)
        await meet()


def assert_apart(documents: Iterable[dict[str, Any]], numbers: Iterable[int]) -> None:
    """Each request has all of its subsegments, none of another's, and they hang together."""
    by_trace: dict[str, list[dict[str, Any]]] = {}
    for document in documents:
        by_trace.setdefault(document["trace_id"], []).append(document)
    expected = {facts_of(number)[0]: number for number in numbers}
    assert set(by_trace) == set(expected)
    for trace_id, number in expected.items():
        own = by_trace[trace_id]
        ids = {document["id"]: document for document in own}
        assert {document["annotations"]["canary"] for document in own} == {number}
        assert Counter(document["name"] for document in own) == {
            "handler": 1,
            "helper": HELPERS,
            "deep": HELPERS,
        }
        for document in own:
            parent = ids.get(document["parent_id"])
            above = {"deep": "helper", "helper": "handler"}.get(document["name"])
            if above is None:
                assert document["parent_id"] == facts_of(number)[1]
            else:
                assert parent is not None
                assert parent["name"] == above
        helpers = [d["metadata"]["default"]["helper"] for d in own if d["name"] == "deep"]
        assert sorted(helpers) == list(range(HELPERS))


def test_threads_keep_to_their_request(on_lambda: Any, daemon: Daemon) -> None:
    crowd = ThreadCrowd()
    crowd.serve(lambda number: work_in_threads(on_lambda, number, crowd.meet))
    assert_apart(daemon.documents(), range(COUNT))


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_tasks_keep_to_their_request(
    on_lambda: Any, daemon: Daemon, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    crowd = TaskCrowd()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(crowd._all(lambda number: work_in_tasks(on_lambda, number, crowd.meet)))
    assert_apart(daemon.documents(), range(COUNT))


def test_tasks_and_threads_share_one_recorder(on_lambda: Any, daemon: Daemon) -> None:
    half = COUNT // 2
    threads = ThreadCrowd(half)

    def serve_threads() -> None:
        threads.serve(lambda number: work_in_threads(on_lambda, number, threads.meet))

    async def one(number: int, meet: Callable[[], Any]) -> None:
        enter(request_of(number + half))
        await work_in_tasks(on_lambda, number + half, meet)

    beside = threading.Thread(target=serve_threads)
    beside.start()
    tasks = TaskCrowd(half, bare=True)
    tasks.serve(lambda number: one(number, tasks.meet))
    beside.join()
    assert_apart(daemon.documents(), range(COUNT))


def test_tasks_of_trio_keep_to_their_request(on_lambda: Any, daemon: Daemon) -> None:
    """Each nursery's tasks go on below what was open where they were started."""

    async def help_out(number: int, helper: int) -> None:
        async with on_lambda.in_subsegment_async("helper"):
            on_lambda.put_annotation("canary", number)
            await trio.lowlevel.checkpoint()
            with on_lambda.in_subsegment("deep"):
                await trio.lowlevel.checkpoint()
                on_lambda.put_annotation("canary", number)
                on_lambda.put_metadata("helper", helper)

    async def one(number: int) -> None:
        enter(request_of(number))
        async with on_lambda.in_subsegment_async("handler"):
            async with trio.open_nursery() as nursery:
                for helper in range(HELPERS):
                    nursery.start_soon(help_out, number, helper)
            on_lambda.put_annotation("canary", number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(COUNT):
                nursery.start_soon(one, number)

    trio.run(main)
    assert_apart(daemon.documents(), range(COUNT))


def assert_segments_apart(documents: list[dict[str, Any]]) -> None:
    assert len(documents) == COUNT
    for document in documents:
        number = document["annotations"]["canary"]
        own = list(subsegments_of([document]))
        assert Counter(part["name"] for part in own) == {
            f"segment-{number}": 1,
            "handler": 1,
            "helper": 2,
            "deep": 2,
        }
        assert {part["annotations"]["canary"] for part in own} == {number}
        assert len({part.get("trace_id") for part in own}) == 1


def test_segments_begun_in_bare_threads(elsewhere: Any, daemon: Daemon) -> None:
    """Threads without a request start with nothing; what is open is handed over by hand."""
    crowd = ThreadCrowd(bare=True)

    def help_out(number: int, entity: Any) -> None:
        elsewhere.set_trace_entity(entity)
        with elsewhere.in_subsegment("helper"):
            elsewhere.put_annotation("canary", number)
            crowd_of_two.wait()
            with elsewhere.in_subsegment("deep"):
                elsewhere.put_annotation("canary", number)
        elsewhere.clear_trace_entities()

    crowd_of_two = threading.Barrier(2)

    def one(number: int) -> None:
        with elsewhere.in_segment(f"segment-{number}") as segment:
            segment.put_annotation("canary", number)
            with elsewhere.in_subsegment("handler") as handler:
                handler.put_annotation("canary", number)
                crowd.meet()
                both = [threading.Thread(target=help_out, args=(number, handler)) for _ in "ab"]
                for thread in both:
                    thread.start()
                for thread in both:
                    thread.join()
                crowd.meet()

    crowd.serve(one)
    assert_segments_apart(daemon.documents())


@pytest.mark.parametrize("bare", [True, False])
def test_segments_begun_in_tasks(elsewhere: Any, daemon: Daemon, bare: bool) -> None:
    crowd = TaskCrowd(bare=bare)

    async def help_out(number: int) -> None:
        async with elsewhere.in_subsegment_async("helper"):
            await crowd.meet()
            elsewhere.put_annotation("canary", number)
            with elsewhere.in_subsegment("deep"):
                await asyncio.sleep(0)
                elsewhere.put_annotation("canary", number)

    async def one(number: int) -> None:
        async with elsewhere.in_segment_async(f"segment-{number}"):
            elsewhere.current_segment().put_annotation("canary", number)
            async with elsewhere.in_subsegment_async("handler"):
                await crowd.meet()
                await asyncio.gather(help_out(number), help_out(number))
                elsewhere.put_annotation("canary", number)

    crowd.serve(one)
    assert_segments_apart(daemon.documents())
