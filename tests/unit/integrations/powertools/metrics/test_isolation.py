"""Metrics of fifty requests at once: each blob has the values of one request, and all of them."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("aws_lambda_powertools")

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import EphemeralMetrics, SchemaValidationError, single_metric
from aws_lambda_powertools.metrics.base import SingleMetric
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
    AmazonCloudWatchEMFProvider,
)
from aws_lambda_powertools.metrics.provider.datadog import DatadogMetrics, DatadogProvider
from aws_lambda_powertools.metrics.provider.datadog import datadog as datadog_module

from tests.support.crowd import COUNT, LambdaContext
from tests.support.metrics import Blobs, Crowd, dimensions, names, namespace, serving

pytestmark = [
    pytest.mark.filterwarnings("ignore:No application metrics to publish"),
    # 3.23 says so whenever it clears.
    pytest.mark.filterwarnings("ignore:Dimension '.*' has already been added"),
]

HAS_DIMENSION_SETS = hasattr(AmazonCloudWatchEMFProvider, "add_dimensions")


def test_a_blob_has_everything_of_its_request_and_nothing_of_others(
    crowd: Crowd, blobs: Blobs
) -> None:
    """The same instance, instances of the handler's own, other namespaces: one request's."""
    metrics = Metrics(namespace="shop", service="orders")
    other = Metrics(namespace="other")
    metrics.set_default_dimensions(stage="prod")

    def body(number: int) -> Iterator[None]:
        metrics.add_metric("sold", "Count", number)
        yield
        other.add_dimension("tenant", f"t{number}")
        Metrics().add_metric(f"own-{number}", "Count", number)
        yield
        metrics.add_metadata("user", f"u{number}")
        metrics.set_timestamp(1_000_000 + number)
        yield
        metrics.add_metric("sold", "Count", -number)

    with pytest.warns(UserWarning, match="will be skipped"):
        results = crowd.serve(body, metrics.log_metrics)

    assert results == list(range(COUNT))
    by_user = {blob["user"]: blob for blob in blobs()}
    assert len(by_user) == COUNT
    for number in range(COUNT):
        blob = by_user[f"u{number}"]
        assert names(blob) == ["sold", f"own-{number}"]
        assert blob["sold"] == [number, -number]
        assert blob["tenant"] == f"t{number}"
        assert blob["stage"] == "prod"
        assert blob["service"] == "orders"
        assert blob["_aws"]["Timestamp"] == 1_000_000 + number
        assert namespace(blob) == "shop"
        assert dimensions(blob) == [["stage", "tenant", "service"]]
    assert Metrics._metrics == {}
    assert Metrics._dimensions == {"stage": "prod"}


@pytest.mark.skipif(not HAS_DIMENSION_SETS, reason="this powertools has no sets of dimensions")
def test_sets_of_dimensions_are_those_of_the_request(crowd: Crowd, blobs: Blobs) -> None:
    metrics = Metrics(namespace="shop", service="orders")

    def body(number: int) -> Iterator[None]:
        metrics.add_metric("sold", "Count", number)
        yield
        metrics.add_dimensions(**{f"d{number}": f"v{number}", "region": f"r{number}"})
        yield

    crowd.serve(body, metrics.log_metrics)

    found = blobs()
    assert len(found) == COUNT
    for blob in found:
        number = int(blob["sold"][0])
        assert dimensions(blob) == [["service"], [f"d{number}", "region"]]
        assert blob["region"] == f"r{number}"


def test_default_dimensions_of_imports_stay_and_those_of_a_request_end_with_it(
    crowd: Crowd, blobs: Blobs
) -> None:
    """Within the request they outlast what is published, as powertools says."""
    metrics = Metrics(namespace="shop", service="orders")
    metrics.set_default_dimensions(stage="prod")

    def body(number: int) -> Iterator[None]:
        metrics.set_default_dimensions(tenant=f"t{number}")
        metrics.add_metric("first", "Count", number)
        yield
        metrics.flush_metrics()
        yield
        metrics.add_metric("second", "Count", number)
        yield
        if number % 2:
            metrics.clear_default_dimensions()
            metrics.clear_metrics()
            metrics.add_metric("third", "Count", number)

    crowd.serve(body, metrics.log_metrics(default_dimensions={"team": "a"}))

    found = blobs()
    assert len(found) == 2 * COUNT
    for blob in found:
        if "third" in blob:
            assert dimensions(blob) == [["service"]]
            assert names(blob) == ["third"]
        else:
            (name,) = names(blob)
            assert blob["tenant"] == f"t{int(blob[name][0])}"
            assert (blob["stage"], blob["team"]) == ("prod", "a")
    assert metrics.default_dimensions["stage"] == "prod"
    assert "tenant" not in metrics.default_dimensions
    assert metrics.provider.default_dimensions == {"stage": "prod", "team": "a"}


def test_a_request_finds_nothing_of_the_one_before(blobs: Blobs) -> None:
    """Not the time it set either, which powertools never forgets."""
    metrics = Metrics(namespace="shop", service="orders")

    @metrics.log_metrics
    def handle(event: int, context: Any) -> None:
        metrics.add_metric("sold", "Count", event)
        if event == 1:
            metrics.set_default_dimensions(tenant="one")
            metrics.namespace = "one"
            metrics.service = "one"
            with pytest.warns(UserWarning, match="will be skipped"):
                metrics.set_timestamp(1)

    for number in (1, 2):
        handle(number, LambdaContext(number))
        serving(number, lambda number=number: handle(number, LambdaContext(number)))

    first, first_again, second, second_again = blobs()
    for blob in (first, first_again):
        assert (namespace(blob), blob["service"], blob["tenant"]) == ("one", "one", "one")
        assert blob["_aws"]["Timestamp"] == 1
    for blob in (second, second_again):
        assert (namespace(blob), blob["service"]) == ("shop", "orders")
        assert "tenant" not in blob
        assert blob["_aws"]["Timestamp"] > 1


@pytest.mark.parametrize("make", [EphemeralMetrics, AmazonCloudWatchEMFProvider])
def test_providers_at_module_level_and_in_handlers(
    crowd: Crowd, blobs: Blobs, make: Callable[..., Any]
) -> None:
    """What a handler makes for itself is apart from the rest of its own request too."""
    shared = make(namespace="shared", default_dimensions={"stage": "prod"})

    def body(number: int) -> Iterator[None]:
        own = make(namespace=f"own{number}", default_dimensions={"tenant": f"t{number}"})
        own.add_metric("a", "Count", number)
        yield
        shared.add_metric("b", "Count", number)
        shared.add_metadata("user", f"u{number}")
        own.add_metadata("user", f"u{number}")
        yield
        own.flush_metrics()
        own.add_metric("c", "Count", number)
        own.flush_metrics()

    crowd.serve(body, shared.log_metrics)

    found = blobs()
    assert Counter(name for blob in found for name in names(blob)) == dict.fromkeys("abc", COUNT)
    for blob in found:
        (name,) = names(blob)
        number = int(blob[name][0])
        if name == "b":
            assert (namespace(blob), blob["stage"]) == ("shared", "prod")
        else:
            assert (namespace(blob), blob["tenant"]) == (f"own{number}", f"t{number}")
        assert blob.get("user") == (None if name == "c" else f"u{number}")


def test_what_the_first_request_makes_for_all_starts_from_how_it_was_made(blobs: Blobs) -> None:
    """A global that is made when it is first needed: the first request's values are not in it."""
    made: list[Any] = []

    def make() -> None:
        made.append(EphemeralMetrics(namespace="shop", default_dimensions={"stage": "prod"}))
        made.append(Metrics(namespace="shop"))
        for each in made:
            each.set_default_dimensions(tenant="first")
            each.add_metric("first", "Count", 1)
            each.add_metadata("first", "first")
            each.namespace = "first"

    def use() -> None:
        for each in made:
            each.add_metric("second", "Count", 2)
            each.flush_metrics()

    serving(1, make)
    serving(2, use)
    use()

    found = blobs()
    assert [(names(blob), namespace(blob)) for blob in found] == [(["second"], "shop")] * 4
    assert "first" not in json.dumps(found)
    assert [blob.get("stage") for blob in found] == ["prod", None, "prod", None]


def test_metrics_that_a_maker_passes_in_are_those_of_its_request(blobs: Blobs) -> None:
    made: list[Any] = []
    value = {"Unit": "Count", "StorageResolution": 60, "Value": [1.0]}

    def make() -> None:
        made.append(EphemeralMetrics(namespace="shop", metric_set={"first": value}))
        assert list(made[0].metric_set) == ["first"]

    serving(1, make)
    serving(2, lambda: made[0].flush_metrics())
    serving(3, lambda: made[0].add_metric("third", "Count", 3))
    made[0].flush_metrics()

    assert blobs() == []


def test_a_copy_has_what_the_original_has(blobs: Blobs) -> None:
    def job() -> None:
        original = EphemeralMetrics(namespace="shop")
        original.add_metric("sold", "Count", 1)
        copy.deepcopy(original).flush_metrics()
        original.flush_metrics()

    serving(1, job)
    job()

    assert [names(blob) for blob in blobs()] == [["sold"]] * 4


def test_instances_of_one_request_share_its_default_dimensions(blobs: Blobs) -> None:
    """Wherever they were made, and after something was published as well."""
    metrics = Metrics(namespace="shop", service="s")

    def job() -> None:
        metrics.set_default_dimensions(tenant="one")
        own = Metrics(namespace="shop", service="s")
        for name in ("first", "second"):
            own.add_metric(name, "Count", 1)
            own.flush_metrics()

    serving(1, job)

    assert [(names(blob), blob["tenant"]) for blob in blobs()] == [
        (["first"], "one"),
        (["second"], "one"),
    ]
    assert Metrics._default_dimensions == {}


def test_a_provider_that_metrics_is_given(crowd: Crowd, blobs: Blobs) -> None:
    provider = AmazonCloudWatchEMFProvider(namespace="given", service="s")
    metrics = Metrics(provider=provider)

    def body(number: int) -> Iterator[None]:
        metrics.add_metric("sold", "Count", number)
        metrics.add_dimension("tenant", f"t{number}")
        yield
        provider.add_metric("more", "Count", number)

    crowd.serve(body, metrics.log_metrics)

    found = blobs()
    assert len(found) == COUNT
    for blob in found:
        assert names(blob) == ["sold", "more"]
        assert blob["sold"] == blob["more"]
        assert blob["tenant"] == f"t{int(blob['sold'][0])}"


def test_single_metrics_are_whole_and_their_own(crowd: Crowd, blobs: Blobs) -> None:
    shared = SingleMetric(namespace="shared")
    metrics = Metrics(namespace="shop")

    def body(number: int) -> Iterator[None]:
        with single_metric("one", "Count", number, namespace=f"n{number}") as metric:
            metric.add_dimension("tenant", f"t{number}")
        shared.add_metric(f"s{number}", "Count", number)
        yield
        shared.add_dimension("tenant", f"t{number}")
        yield
        blob = shared.serialize_metric_set()
        assert names(blob) == [f"s{number}"]
        assert blob["tenant"] == f"t{number}"

    crowd.serve(body, metrics.log_metrics)

    found = blobs()
    assert {int(blob["one"][0]) for blob in found} == set(range(COUNT))
    assert all(
        (namespace(blob), blob["tenant"]) == (f"n{number}", f"t{number}")
        for blob in found
        for number in [int(blob["one"][0])]
    )


def test_datadog_lines_are_those_of_the_request(crowd: Crowd, blobs: Blobs) -> None:
    metrics = DatadogMetrics(namespace="shop", flush_to_log=True)
    metrics.set_default_tags(stage="prod")

    def body(number: int) -> Iterator[None]:
        metrics.set_default_tags(tenant=f"t{number}")
        metrics.add_metric("sold", number, product="latte")
        yield
        DatadogMetrics().add_metric("sold", number, product="mocha")
        yield

    crowd.serve(body, metrics.log_metrics)

    found = blobs()
    assert Counter(blob["v"] for blob in found) == dict.fromkeys(range(COUNT), 2)
    for blob in found:
        assert blob["m"] == "shop.sold"
        assert blob["t"][:2] == ["stage:prod", f"tenant:t{blob['v']}"]
    assert metrics.provider.default_tags == {"stage": "prod"}


def test_datadog_metrics_go_to_the_extension_where_there_is_one(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(datadog_module, "lambda_metric", lambda **one: sent.append(one))
    provider = DatadogProvider(namespace="shop", flush_to_log=False)
    metrics = DatadogMetrics(provider=provider)

    def body(number: int) -> Iterator[None]:
        metrics.add_metric("sold", number, tenant=f"t{number}")
        yield

    crowd.serve(body, metrics.log_metrics)

    assert sorted((one["value"], tuple(one["tags"])) for one in sent) == [
        (number, (f"tenant:t{number}",)) for number in range(COUNT)
    ]


def test_a_replaced_container_is_the_request_s(crowd: Crowd, blobs: Blobs) -> None:
    """Subclasses put new ones in place instead of emptying those that are there."""

    class Replacing(AmazonCloudWatchEMFProvider):  # type: ignore[misc]
        def clear_metrics(self) -> None:
            self.metric_set = {}
            self.dimension_set = {}
            self.metadata_set = {}

    metrics = Replacing(namespace="shop")

    def body(number: int) -> Iterator[None]:
        for _ in range(2):
            metrics.clear_metrics()
            metrics.add_metric("sold", "Count", number)
            metrics.add_dimension("tenant", f"t{number}")
            yield

    crowd.serve(body, metrics.log_metrics)

    found = blobs()
    assert len(found) == COUNT
    assert all(blob["tenant"] == f"t{int(blob['sold'][0])}" for blob in found)
    assert metrics.metric_set == {}


def test_a_hundred_values_are_published_at_once(blobs: Blobs) -> None:
    metrics = Metrics(namespace="shop", service="s")

    @metrics.log_metrics
    def handle(event: int, context: Any) -> None:
        for number in range(250):
            metrics.add_metric("sold", "Count", number)
        for number in range(101):
            metrics.add_metric(f"m{number}", "Count", 1)

    handle(1, LambdaContext(1))

    found = blobs()
    assert [len(names(blob)) for blob in found] == [1, 1, 100, 2]
    assert [value for blob in found for value in blob.get("sold", [])] == list(range(250))


def test_there_may_be_twenty_nine_dimensions(crowd: Crowd, blobs: Blobs) -> None:
    metrics = Metrics(namespace="shop")

    def body(number: int) -> Iterator[None]:
        for each in range(29):
            metrics.add_dimension(f"d{number}-{each}", "v")
            if each % 10 == 0:
                yield
        with pytest.raises(SchemaValidationError, match="Maximum number of dimensions"):
            metrics.add_dimension("one-more", "v")
        metrics.add_metric("sold", "Count", number)

    crowd.serve(body, metrics.log_metrics)

    found = blobs()
    assert len(found) == COUNT
    for blob in found:
        number = int(blob["sold"][0])
        assert dimensions(blob) == [[f"d{number}-{each}" for each in range(29)]]


def test_disabled_metrics_stay_silent(
    monkeypatch: pytest.MonkeyPatch, blobs: Blobs, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")
    metrics = Metrics(namespace="shop")

    @metrics.log_metrics
    def handle(event: int, context: Any) -> None:
        metrics.add_metric("sold", "Count", event)

    for number in range(3):
        handle(number, LambdaContext(number))

    assert blobs() == []
    assert caplog.records == []
