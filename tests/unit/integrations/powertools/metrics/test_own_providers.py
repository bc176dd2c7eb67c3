"""Providers that users have written: what can be isolated is, and the rest is named."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

pytest.importorskip("aws_lambda_powertools")

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import EphemeralMetrics
from aws_lambda_powertools.metrics.provider import BaseProvider
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
    AmazonCloudWatchEMFProvider,
)
from aws_lambda_powertools.metrics.provider.datadog import DatadogMetrics, DatadogProvider

from tests.support.crowd import COUNT, LambdaContext
from tests.support.metrics import Blobs, Crowd, serving


class Lines(BaseProvider):  # type: ignore[misc]
    """What powertools' guide shows: a provider for another service."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.metric_set: list[Any] = []

    def add_metric(self, name: str, value: float, **tags: Any) -> None:
        self.metric_set.append({"name": name, "value": value, **tags})

    def serialize_metric_set(self, raise_on_empty_metrics: bool = False) -> str:
        return json.dumps({"namespace": self.namespace, "metrics": self.metric_set})

    def flush_metrics(self, raise_on_empty_metrics: bool = False) -> None:
        print(self.serialize_metric_set() + "\n", end="")
        self.clear_metrics()

    def clear_metrics(self) -> None:
        self.metric_set.clear()

    def add_cold_start_metric(self, context: Any) -> None:
        self.add_metric("ColdStart", 1, function_name=context.function_name)


class Hoarding(Lines):
    def __init__(self, namespace: str) -> None:
        super().__init__(namespace)
        self.events: list[str] = []
        self.tags: dict[str, str] = {}


class Classy(Lines):
    seen: ClassVar[set[str]] = set()


class Extended(AmazonCloudWatchEMFProvider):  # type: ignore[misc]
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.recent: list[str] = []


class Duck:
    def __init__(self) -> None:
        self.metric_set: dict[str, Any] = {}


def test_a_provider_that_uses_their_names_is_isolated(
    crowd: Crowd, blobs: Blobs, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Lines("shop")

    def body(number: int) -> Iterator[None]:
        provider.add_metric("sold", number)
        yield
        provider.add_metric("sold", number)

    crowd.serve(body, provider.log_metrics(capture_cold_start_metric=True))

    found = blobs()
    by_number = {blob["metrics"][0]["value"]: blob["metrics"] for blob in found}
    assert len(by_number) == COUNT
    cold = [each for number in by_number for each in by_number[number][2:]]
    assert cold == [{"name": "ColdStart", "value": 1, "function_name": "function"}]
    for number, metrics in by_number.items():
        assert metrics[:2] == [{"name": "sold", "value": number}] * 2
    assert caplog.records == []


def test_one_that_a_request_has_made_is_its_own(blobs: Blobs) -> None:
    made: list[Lines] = []

    def make() -> None:
        made.append(Lines("shop"))
        made[0].add_metric("first", 1)

    def use() -> None:
        made[0].add_metric("second", 2)
        made[0].flush_metrics()

    serving(1, make)
    serving(2, use)
    use()

    assert [[each["name"] for each in blob["metrics"]] for blob in blobs()] == [["second"]] * 2


def test_a_dataclass_provider(blobs: Blobs) -> None:
    """For a dataclass, what its base has by the name of a field is the field's default."""

    @dataclass
    class Plain(Lines):
        metric_set: list[Any]
        size: int
        default_tags: dict[str, str] = field(default_factory=dict)

    provider = Plain([], 1)

    def job(number: int) -> None:
        provider.default_tags["n"] = str(number)
        provider.add_metric("a", number)
        provider.namespace = "shop"
        provider.flush_metrics()

    serving(1, lambda: job(1))

    assert [blob["namespace"] for blob in blobs()] == ["shop"]
    assert provider.default_tags == {}


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (lambda: Hoarding("shop"), "keeps events, tags by itself"),
        (lambda: Classy("shop"), "keeps seen by itself"),
        (lambda: Extended(namespace="shop"), "keeps recent by itself"),
        (Duck, "keeps metric_set by itself"),
    ],
)
def test_what_a_provider_keeps_by_itself_is_named_once(
    make: Callable[[], Any], kept: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        provider = make()
        Metrics(provider=provider)
        if isinstance(provider, BaseProvider):
            provider.log_metrics(lambda event, context: None)

    (record,) = caplog.records
    assert (record.name, record.levelno) == ("lmi_runtime.integrations", logging.WARNING)
    kind = f"{type(provider).__module__}.{type(provider).__qualname__}"
    assert record.getMessage().startswith(f"powertools: the metrics provider {kind} {kept}, and")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Metrics(namespace="shop"),
        lambda: EphemeralMetrics(namespace="shop"),
        lambda: Metrics(provider=AmazonCloudWatchEMFProvider(namespace="shop")),
        lambda: DatadogMetrics(provider=DatadogProvider(namespace="shop")),
        lambda: Lines("shop"),
    ],
)
def test_nothing_is_said_of_what_is_isolated(
    make: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    make().log_metrics(lambda event, context: None)
    assert caplog.records == []


@pytest.mark.filterwarnings("ignore:No application metrics to publish")
def test_an_extended_provider_is_isolated_for_the_rest(crowd: Crowd, blobs: Blobs) -> None:
    metrics = Metrics(provider=Extended(namespace="shop"))

    def body(number: int) -> Iterator[None]:
        metrics.add_metric("sold", "Count", number)
        yield
        metrics.add_dimension("tenant", f"t{number}")

    crowd.serve(body, metrics.log_metrics)

    found = blobs()
    assert {blob["tenant"]: blob["sold"] for blob in found} == {
        f"t{number}": [number] for number in range(COUNT)
    }


def test_a_subclass_of_metrics_with_containers_of_its_own(crowd: Crowd, blobs: Blobs) -> None:
    """Its instances share theirs, and nothing with those of `Metrics`."""

    class Apart(Metrics):  # type: ignore[misc]
        _metrics: ClassVar[dict[str, Any]] = {}
        _dimensions: ClassVar[dict[str, str]] = {}
        _metadata: ClassVar[dict[str, Any]] = {}
        _default_dimensions: ClassVar[dict[str, Any]] = {}

    metrics, apart = Metrics(namespace="shop"), Apart(namespace="apart")

    def body(number: int) -> Iterator[None]:
        metrics.add_metric("sold", "Count", number)
        yield
        apart.add_metric("apart", "Count", number)
        yield
        Apart(namespace="apart").flush_metrics()

    crowd.serve(body, metrics.log_metrics)

    found = blobs()
    assert sorted(blob["sold"][0] for blob in found if "sold" in blob) == list(range(COUNT))
    assert sorted(blob["apart"][0] for blob in found if "apart" in blob) == list(range(COUNT))
    assert not any({"sold", "apart"} <= set(blob) for blob in found)


def test_a_handler_of_a_provider_of_ones_own_gets_what_it_is_called_with() -> None:
    provider = Lines("shop")
    handle = provider.log_metrics(lambda event, context, *args: (event, args))
    assert handle("event", LambdaContext(1), 2) == ("event", (2,))


def test_the_time_that_the_first_request_sets_is_not_a_setting(blobs: Blobs) -> None:
    class Timed(Lines):
        timestamp: int | None

        def serialize_metric_set(self, raise_on_empty_metrics: bool = False) -> str:
            return json.dumps(self.timestamp)

    made: list[Timed] = []

    def make() -> None:
        made.append(Timed("shop"))
        made[0].timestamp = 1
        made[0].flush_metrics()

    serving(1, make)
    serving(2, lambda: made[0].flush_metrics())

    assert blobs() == [1, None]
