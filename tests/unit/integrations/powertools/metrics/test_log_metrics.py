"""The decorator: what it publishes, when, and whose."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import json
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NoReturn

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

pytest.importorskip("aws_lambda_powertools")

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import EphemeralMetrics, SchemaValidationError
from aws_lambda_powertools.metrics.provider import cold_start
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
    AmazonCloudWatchEMFProvider,
)
from aws_lambda_powertools.metrics.provider.datadog import DatadogMetrics

from lmi_runtime.context import enter
from tests.support.crowd import COUNT, LambdaContext, ThreadCrowd, request_of
from tests.support.metrics import Blobs, Crowd, dimensions, names, serving

pytestmark = [
    pytest.mark.filterwarnings("ignore:No application metrics to publish"),
    # 3.23 says so whenever it clears.
    pytest.mark.filterwarnings("ignore:Dimension '.*' has already been added"),
]

HAS_DIMENSION_SETS = hasattr(AmazonCloudWatchEMFProvider, "add_dimensions")


@pytest.mark.parametrize("make", [Metrics, EphemeralMetrics, DatadogMetrics])
def test_a_cold_start_is_counted_once(crowd: Crowd, blobs: Blobs, make: Callable[..., Any]) -> None:
    metrics = make(namespace="shop")

    def body(number: int) -> Iterator[None]:
        yield

    crowd.serve(body, metrics.log_metrics(capture_cold_start_metric=True))

    (blob,) = blobs()
    if make is DatadogMetrics:
        assert (blob["m"], blob["t"]) == ("shop.ColdStart", ["function_name:function"])
    else:
        assert blob["ColdStart"] == [1.0]
        assert blob["function_name"] == "function"
        assert dimensions(blob) == [["function_name"]]
    assert cold_start.is_cold_start is False


def test_a_cold_start_that_takes_its_time_is_counted_once() -> None:
    """Theirs notes that it was counted only when it has been."""
    threads = ThreadCrowd(5)
    counted: list[str] = []
    second = threading.Event()

    class Slow(EphemeralMetrics):  # type: ignore[misc]
        def add_cold_start_metric(self, context: Any) -> None:
            counted.append(context.aws_request_id)
            if len(counted) > 1:
                second.set()
            second.wait(0.05)

    handle = Slow(namespace="shop").log_metrics(
        lambda event, context: threads.meet(), capture_cold_start_metric=True
    )
    threads.serve(lambda number: handle(number, LambdaContext(number)))

    assert len(counted) == 1


def test_cold_start_of_the_old_manager_is_counted_once(blobs: Blobs) -> None:
    from aws_lambda_powertools.metrics import base

    base.is_cold_start = True
    manager = base.MetricManager(namespace="shop")
    threads = ThreadCrowd()

    def handle(number: int) -> None:
        threads.meet()
        manager._add_cold_start_metric(LambdaContext(number))

    threads.serve(handle)

    assert len(blobs()) == 1


def test_what_runs_a_handler_to_its_end_is_plain(blobs: Blobs) -> None:
    metrics = Metrics(namespace="shop", service="s")

    async def handle(event: Any, context: Any) -> str:
        metrics.add_metric(name="orders", unit="Count", value=1)
        return "answer"

    @functools.wraps(handle)
    def to_its_end(*args: Any) -> Any:
        return asyncio.run(handle(*args))

    assert metrics.log_metrics(to_its_end)({}, LambdaContext(1)) == "answer"
    (blob,) = blobs()
    assert blob["orders"] == [1.0]


class Refused(Exception):
    pass


@pytest.mark.parametrize("bare", [False, True])
def test_what_was_added_is_published_whatever_ends_the_handler(bare: bool, blobs: Blobs) -> None:
    """After it has ended, and not when its coroutine has been made."""
    metrics = Metrics(namespace="shop", service="s")

    @metrics.log_metrics(raise_on_empty_metrics=True)
    async def handle(event: str, context: Any, *, more: int = 0) -> Any:
        await asyncio.sleep(0)
        if event != "empty":
            metrics.add_metric("sold", "Count", 1)
            metrics.add_dimension("event", event)
        if event == "refused":
            raise Refused
        if event == "cancelled":
            await asyncio.Event().wait()
        return context, more

    async def end(event: str) -> Any:
        if not bare:
            enter(request_of(1))
        task = asyncio.ensure_future(handle(event, "context", more=2))
        if event == "cancelled":
            for _ in range(3):
                await asyncio.sleep(0)
            task.cancel()
        return await task

    assert inspect.iscoroutinefunction(handle)
    assert handle.__name__ == "handle"
    assert asyncio.run(end("done")) == ("context", 2)
    with pytest.raises(Refused):
        asyncio.run(end("refused"))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(end("cancelled"))
    with pytest.raises(SchemaValidationError, match="at least one metric"):
        asyncio.run(end("empty"))
    assert [blob["event"] for blob in blobs()] == ["done", "refused", "cancelled"]


def test_a_plain_handler_that_fails_has_its_metrics_published(blobs: Blobs) -> None:
    metrics = Metrics(namespace="shop")
    error = Refused()

    @metrics.log_metrics(raise_on_empty_metrics=True, capture_cold_start_metric=True)
    def handle(event: int, context: Any) -> None:
        if event:
            metrics.add_metric("sold", "Count", event)
        raise error

    with pytest.raises(Refused) as caught:
        handle(1, LambdaContext(1))
    with pytest.raises(SchemaValidationError) as empty:
        handle(0, LambdaContext(0))

    assert caught.value is error
    assert empty.value.__context__ is error
    assert [names(blob) for blob in blobs()] == [["sold"]]


def test_an_error_is_gone_when_nobody_has_it_any_more() -> None:
    """With all that the frames of its traceback hold; nothing waits for a collection."""
    metrics = EphemeralMetrics(namespace="shop")
    errors: list[weakref.ref[Refused]] = []

    def fail() -> NoReturn:
        error = Refused()
        errors.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    @metrics.log_metrics
    def handle(event: int, context: Any) -> None:
        fail()

    @metrics.log_metrics
    async def handle_async(event: int, context: Any) -> None:
        fail()

    async def main() -> None:
        with suppress(Refused):
            await handle_async(1, None)

    gc.disable()
    try:
        with suppress(Refused):
            handle(1, None)
        asyncio.run(main())
        assert [error() for error in errors] == [None, None]
    finally:
        gc.enable()


def test_a_wrapper_that_does_not_say_it_is_async(blobs: Blobs) -> None:
    metrics = Metrics(namespace="shop")

    async def handle(event: int, context: Any) -> int:
        await asyncio.sleep(0)
        metrics.add_metric("sold", "Count", event)
        return event

    decorated = metrics.log_metrics(lambda event, context: handle(event, context))

    assert asyncio.run(decorated(3, LambdaContext(3))) == 3
    assert [blob["sold"] for blob in blobs()] == [[3.0]]


def test_both_ways_to_write_the_decorator_and_two_of_them() -> None:
    metrics, other = Metrics(namespace="shop"), EphemeralMetrics(namespace="other")

    @metrics.log_metrics()
    @other.log_metrics
    def handle(event: int, context: Any, *args: Any, **kwargs: Any) -> Any:
        return event, args, kwargs

    assert handle(1, LambdaContext(1), 2, three=3) == (1, (2,), {"three": 3})


def test_what_a_decorator_around_adds_is_published_with_its_request_only(blobs: Blobs) -> None:
    """Where one request is served after the other and the outermost decorator is the user's."""
    metrics = Metrics(namespace="shop")
    metrics.set_default_dimensions(stage="prod")
    metrics.add_metric("imported", "Count", 1)

    @metrics.log_metrics
    def handle(event: int, context: Any) -> None:
        metrics.add_metric("sold", "Count", event)

    def outer(event: int) -> None:
        if event == 1:
            metrics.add_dimension("tenant", "one")
            metrics.add_metadata("user", "one")
            if HAS_DIMENSION_SETS:
                metrics.add_dimensions(region="one")
        metrics.add_metric("before", "Count", event)
        handle(event, LambdaContext(event))
        metrics.add_metric("after", "Count", event)

    outer(1)
    outer(2)

    first, second = blobs()
    assert names(first) == ["imported", "before", "sold"]
    assert names(second) == ["after", "before", "sold"]
    assert (first["tenant"], first["user"]) == ("one", "one")
    assert "one" not in json.dumps(second)
    assert dimensions(second) == [["stage"]]


def test_what_an_import_added_is_published_once(crowd: Crowd, blobs: Blobs) -> None:
    metrics = Metrics(namespace="shop")
    datadog = DatadogMetrics(namespace="shop", flush_to_log=True)
    for name in ("one", "two", "three"):
        metrics.add_metric(name, "Count", 1)
        datadog.add_metric(name, 1)
    metrics.add_dimension("of", "import")

    def body(number: int) -> Iterator[None]:
        yield
        metrics.add_metric("sold", "Count", number)
        datadog.add_metric("sold", number)
        yield

    crowd.serve(body, lambda handler: metrics.log_metrics(datadog.log_metrics(handler)))

    found = blobs()
    emf = [blob for blob in found if "_aws" in blob]
    assert Counter(name for blob in emf for name in names(blob)) == {
        "one": 1,
        "two": 1,
        "three": 1,
        "sold": COUNT,
    }
    assert {blob["of"] for blob in emf} == {"import"}
    lines = Counter(blob["m"] for blob in found if "m" in blob)
    assert lines == {"shop.one": 1, "shop.two": 1, "shop.three": 1, "shop.sold": COUNT}


def test_code_without_a_request_leaves_what_an_import_added_to_the_first_one(
    blobs: Blobs,
) -> None:
    """A thread of the function's own may never publish anything."""
    metrics = Metrics(namespace="shop")
    metrics.add_metric("imported", "Count", 1)

    def background() -> None:
        metrics.add_metric("own", "Count", 1)
        metrics.flush_metrics()

    thread = threading.Thread(target=background)
    thread.start()
    thread.join()
    serving(1, metrics.flush_metrics)

    assert [names(blob) for blob in blobs()] == [["own"], ["imported"]]


def test_an_async_handler_on_trio(blobs: Blobs) -> None:
    metrics = Metrics(namespace="shop")

    @metrics.log_metrics
    async def handle(event: int, context: Any) -> None:
        metrics.add_metric("sold", "Count", event)
        with anyio.move_on_after(0):
            await anyio.sleep_forever()
        async with anyio.create_task_group() as group:
            group.start_soon(child, event)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.lowlevel.checkpoint()

    async def child(number: int) -> None:
        await anyio.lowlevel.checkpoint()
        await anyio.to_thread.run_sync(metrics.add_dimension, "tenant", str(number))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(handle, number, LambdaContext(number))

    anyio.run(main, backend="trio")

    found = {blob["tenant"]: blob["sold"] for blob in blobs()}
    assert found == {str(number): [number] for number in range(5)}
