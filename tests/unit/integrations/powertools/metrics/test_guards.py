"""Powertools that is not what this was written for is left as it is, and named."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("aws_lambda_powertools")

from aws_lambda_powertools.metrics import base, metrics
from aws_lambda_powertools.metrics.provider import base as providers
from aws_lambda_powertools.metrics.provider.cloudwatch_emf import cloudwatch
from aws_lambda_powertools.metrics.provider.datadog import datadog
from aws_lambda_powertools.metrics.provider.datadog import metrics as datadog_metrics

from lmi_runtime.integrations import make_safe
from lmi_runtime.integrations.patching import Swaps, Unexpected
from lmi_runtime.integrations.powertools import metrics as ours

CHANGES: list[tuple[Callable[[ModuleType, Swaps], None], ModuleType, str, str]] = [
    (ours.isolate_providers, providers, "BaseProvider", "log_metrics"),
    (ours.isolate_cloudwatch, cloudwatch, "AmazonCloudWatchEMFProvider", "add_metric"),
    (ours.isolate_metrics, metrics, "Metrics", "__init__"),
    (ours.isolate_managers, base, "MetricManager", "add_dimension"),
    (ours.isolate_datadog, datadog, "DatadogProvider", "flush_metrics"),
    (ours.isolate_datadog_metrics, datadog_metrics, "DatadogMetrics", "__init__"),
]


def copy_of(module: ModuleType, name: str, **changed: Any) -> ModuleType:
    """The module, with a class of that name that has other attributes."""
    copied = ModuleType(module.__name__)
    copied.__dict__.update(vars(module))
    setattr(copied, name, type(name, (getattr(module, name),), changed))
    return copied


@pytest.mark.parametrize(("change", "module", "name", "method"), CHANGES)
def test_a_method_that_takes_something_else(
    change: Callable[[ModuleType, Swaps], None], module: ModuleType, name: str, method: str
) -> None:
    with pytest.raises(Unexpected, match=rf"{name}\.{method} takes \(self, unknown\)"):
        change(copy_of(module, name, **{method: lambda self, unknown: None}), Swaps())


@pytest.mark.parametrize(("change", "module", "name", "method"), CHANGES)
def test_a_class_that_is_not_there(
    change: Callable[[ModuleType, Swaps], None], module: ModuleType, name: str, method: str
) -> None:
    with pytest.raises(Unexpected, match=f"{name} is not there"):
        change(ModuleType(module.__name__), Swaps())


def test_both_utilities_are_said_to_be_isolated() -> None:
    report = make_safe()
    assert {"DatadogMetrics", "Metrics"} <= set(report.patched)
    assert not {"DatadogMetrics", "Metrics"} & set(report.not_patched)
