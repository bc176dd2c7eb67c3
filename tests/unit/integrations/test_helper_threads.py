"""Threads that code starts by itself serve the request they were started in, while it lasts."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import sys
import threading
import weakref
from contextvars import Context
from typing import Any

import anyio.to_thread
import pytest

from lmi_runtime import current, spawn_thread
from lmi_runtime.context import enter, peek
from lmi_runtime.errors import NoActiveRequest
from lmi_runtime.integrations.helper_threads import carry_requests
from lmi_runtime.integrations.scopes import Scope
from tests.support.crowd import ThreadCrowd, request_of
from tests.support.patience import PATIENCE_S


@pytest.fixture(autouse=True, scope="module")
def _carried() -> None:
    carry_requests()
    carry_requests()  # it is the same as once


def test_a_plain_thread_serves_the_request_of_its_starter() -> None:
    crowd = ThreadCrowd(8)

    def handle(_: int) -> object:
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.append(current().request_id))
        crowd.meet()
        thread.start()
        thread.join()
        return seen

    assert crowd.serve(handle) == [[f"request-{number}"] for number in range(8)]


def test_a_thread_that_is_started_twice_goes_on() -> None:
    seen: list[str] = []
    failed: list[object] = []

    def body() -> None:
        enter(request_of(1))
        go_on = threading.Event()

        class Slow(threading.Thread):
            def run(self) -> None:
                go_on.wait(PATIENCE_S)
                seen.append(current().request_id)

        thread = Slow()
        thread.start()
        with pytest.raises(RuntimeError, match="only be started once"):
            thread.start()
        failed.append(vars(thread).get("run"))
        go_on.set()
        thread.join()

    Context().run(body)

    assert seen == ["request-1"]
    assert failed == [None]


def test_a_thread_that_cannot_be_started_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("can't start new thread")

    def body() -> None:
        enter(request_of(1))
        thread = threading.Thread()
        with pytest.raises(RuntimeError, match="can't start"):
            thread.start()
        assert "run" not in vars(thread)

    for name in ("_start_new_thread", "_start_joinable_thread"):
        if hasattr(threading, name):
            monkeypatch.setattr(threading, name, refuse)
    Context().run(body)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="threads take no context yet")
def test_a_thread_that_was_given_a_context_has_that() -> None:
    given = Context()
    seen: list[object] = []

    def body() -> None:
        enter(request_of(1))
        thread = threading.Thread(target=lambda: seen.append(peek()), **{"context": given})
        thread.start()
        thread.join()

    Context().run(body)

    assert seen == [None]


def test_an_executor_that_all_share_serves_whoever_submits() -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        crowd = ThreadCrowd(8)

        def handle(_: int) -> object:
            crowd.meet()
            return list(pool.map(lambda _: current().request_id, range(3)))

        assert crowd.serve(handle) == [[f"request-{number}"] * 3 for number in range(8)]
        # Its threads were started by requests, and belong to none.
        assert pool.submit(peek).result() is None


def test_a_thread_that_outlives_its_request_serves_none() -> None:
    answered = threading.Event()
    seen: list[Any] = []

    def stay() -> None:
        seen.append(peek())
        answered.wait(PATIENCE_S)
        seen.append(peek())
        with pytest.raises(NoActiveRequest):
            current()

    def handle(_: int) -> threading.Thread:
        thread = threading.Thread(target=stay)
        thread.start()
        return thread

    [thread] = ThreadCrowd(1).serve(handle)
    answered.set()
    thread.join()
    assert [request and request.request_id for request in seen] == ["request-0", None]


def test_a_thread_that_outlives_its_request_is_out_of_its_scopes() -> None:
    answered = threading.Event()
    scope = Scope("block")
    seen: list[Any] = []

    def stay() -> None:
        seen.append(scope.holder())
        answered.wait(PATIENCE_S)
        seen.append(scope.holder())

    def handle(_: int) -> tuple[object, threading.Thread]:
        with scope.opened() as place:
            thread = threading.Thread(target=stay)
            thread.start()
        return place, thread

    [(place, thread)] = ThreadCrowd(1).serve(handle)
    answered.set()
    thread.join()
    assert seen[0] is place
    assert seen[1] is not place


def test_a_thread_that_was_started_on_purpose_keeps_its_request() -> None:
    answered = threading.Event()
    seen: list[Any] = []

    def stay() -> None:
        answered.wait(PATIENCE_S)
        seen.append(peek())

    [thread] = ThreadCrowd(1).serve(lambda _: spawn_thread(stay))
    answered.set()
    thread.join()
    assert seen[0].request_id == "request-0"


def test_outside_requests_threads_are_as_they_were() -> None:
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(peek()))
    thread.start()
    thread.join()
    assert seen == [None]
    assert "run" not in vars(thread)


def test_an_overridden_run_is_run() -> None:
    class Mine(threading.Thread):
        def run(self) -> None:
            self.seen = current().request_id

    def handle(_: int) -> str:
        thread = Mine()
        thread.start()
        thread.join()
        return thread.seen

    assert ThreadCrowd(2).serve(handle) == ["request-0", "request-1"]


def test_a_thread_that_has_ended_is_kept_by_nobody() -> None:
    def handle(_: int) -> weakref.ref[threading.Thread]:
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        return weakref.ref(thread)

    [gone] = ThreadCrowd(1).serve(handle)
    gc.collect()
    assert gone() is None


def test_threads_that_enter_the_context_of_each_call_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []
    monkeypatch.setattr("lmi_runtime.context.carried", lambda: asked.append(None))

    async def call() -> str:
        enter(request_of(1))
        return await anyio.to_thread.run_sync(lambda: current().request_id)

    assert asyncio.run(call()) == "request-1"
    assert asked == []
