"""Threads and tasks that add to the metrics of one request, and those that come too late."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Any

import pytest

pytest.importorskip("aws_lambda_powertools")

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import EphemeralMetrics
from aws_lambda_powertools.metrics.provider.datadog import DatadogMetrics, DatadogProvider

from lmi_runtime.context import Request, enter
from tests.support.crowd import LambdaContext, request_of
from tests.support.metrics import Blobs, Meanwhile, names, serving
from tests.support.patience import PATIENCE_S

pytestmark = [
    pytest.mark.filterwarnings("ignore:No application metrics to publish"),
    # 3.23 says so whenever it clears.
    pytest.mark.filterwarnings("ignore:Dimension '.*' has already been added"),
]


def test_helper_threads_add_to_their_request_and_lose_nothing(blobs: Blobs) -> None:
    """A hundred of them, while the request publishes in between."""
    metrics = Metrics(namespace="shop")
    start = threading.Barrier(100)

    def add(number: int) -> None:
        start.wait(PATIENCE_S)
        for each in range(20):
            metrics.add_metric("sold", "Count", number * 20 + each)
            if each == 10 and number % 10 == 0:
                metrics.flush_metrics()

    @metrics.log_metrics
    def handle(event: int, context: Any) -> None:
        threads = [threading.Thread(target=add, args=(number,)) for number in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    serving(1, lambda: handle(1, LambdaContext(1)))

    assert sorted(value for blob in blobs() for value in blob["sold"]) == list(range(2000))


def test_two_threads_that_both_add_the_first_value_of_a_metric(blobs: Blobs) -> None:
    """Theirs looks the metric up, and stores it when it has the value: the later one would win."""
    metrics = EphemeralMetrics(namespace="shop")
    meanwhile = Meanwhile(lambda: metrics.add_metric("a", "Count", 2))

    class Slow(float):
        def __float__(self) -> float:
            meanwhile()
            return 1.0

    def job() -> None:
        metrics.add_metric("a", "Count", Slow())
        meanwhile.join()
        metrics.flush_metrics()

    serving(1, job)

    assert [sorted(blob["a"]) for blob in blobs()] == [[1.0, 2.0]]


@pytest.mark.parametrize("make", [EphemeralMetrics, DatadogProvider])
def test_a_thread_that_adds_while_another_publishes(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Theirs serializes, prints and then empties what has come meanwhile as well."""
    metrics = make(namespace="shop")
    arguments = ["Count"] if make is EphemeralMetrics else []
    meanwhile = Meanwhile(lambda: metrics.add_metric("b", *arguments, value=2))
    lines: list[str] = []

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            lines.append(text)
            if len(lines) == 1:
                meanwhile()
            return len(text)

    def job() -> None:
        metrics.add_metric("a", *arguments, value=1)
        metrics.flush_metrics()
        meanwhile.join()
        metrics.flush_metrics()

    monkeypatch.setattr(sys, "stdout", Out())
    serving(1, job)

    assert len(lines) == 2
    assert all(line.endswith("}\n") for line in lines)


def test_child_tasks_threads_and_executors_add_to_their_request(blobs: Blobs) -> None:
    metrics = Metrics(namespace="shop")

    @metrics.log_metrics
    async def handle(event: int, context: Any) -> None:
        async def child(number: int) -> None:
            await asyncio.sleep(0)
            metrics.add_metric(f"task{number}", "Count", event)

        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(child(number))
        await asyncio.to_thread(metrics.add_metric, "to_thread", "Count", event)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(metrics.add_dimension, "executor", str(event)).result()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                coroutine = handle(number, LambdaContext(number))
                group.create_task(coroutine, context=Context())

    asyncio.run(main())

    found = blobs()
    assert len(found) == 3
    for blob in found:
        assert names(blob) == [*(f"task{number}" for number in range(5)), "to_thread"]
        assert {str(int(blob[name][0])) for name in names(blob)} == {blob["executor"]}


def test_metrics_that_nobody_will_publish_are_named_once(
    caplog: pytest.LogCaptureFixture, blobs: Blobs
) -> None:
    """A task that outlives its request adds to what has been published already."""
    metrics = Metrics(namespace="shop")
    datadog = DatadogMetrics(namespace="shop", flush_to_log=True)

    @metrics.log_metrics
    def handle(event: int, context: Any) -> None:
        metrics.add_metric("sold", "Count", event)

    def forgetful(request: Request) -> None:
        enter(request)
        handle(1, LambdaContext(1))
        request.end()
        metrics.add_metric("late", "Count", 1)
        datadog.add_metric("late", 1)

    def careful(request: Request) -> None:
        forgetful(request)
        metrics.flush_metrics()
        datadog.flush_metrics()

    Context().run(careful, request_of(1))
    gc.collect()
    handle(2, LambdaContext(2))
    assert caplog.records == []
    for number in (3, 4):
        Context().run(forgetful, request_of(number))
        gc.collect()
        handle(number, LambdaContext(number))

    (record,) = caplog.records
    assert (record.name, record.levelno) == ("lmi_runtime.integrations", logging.WARNING)
    assert record.getMessage().startswith("powertools: the metric 'late' was added but not")
    assert "flush_metrics()" in record.getMessage()
