"""Lines that are written whole."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

pytest.importorskip("aws_lambda_powertools")

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import EphemeralMetrics, single_metric
from aws_lambda_powertools.metrics.base import MetricManager
from aws_lambda_powertools.metrics.provider.datadog import DatadogMetrics

from lmi_runtime.integrations.powertools.metrics_lines import print_line


class Writes(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.all: list[str] = []

    def write(self, text: str) -> int:
        self.all.append(text)
        return len(text)


def test_every_line_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """To what standard output is now: logs and tests put their own there."""
    out = Writes()
    monkeypatch.setattr(sys, "stdout", out)

    with single_metric("one", "Count", 1, namespace="shop"):  # type: ignore[arg-type]
        pass
    kinds: list[Any] = [Metrics(namespace="a"), EphemeralMetrics(namespace="a")]
    kinds.append(MetricManager(namespace="a"))
    for kind in kinds:
        for number in range(101):
            kind.add_metric("many", "Count", number)
        kind.flush_metrics()
    datadog = DatadogMetrics(namespace="a", flush_to_log=True)
    datadog.add_metric("one", 1)
    datadog.add_metric("two", 2)
    datadog.flush_metrics()

    assert len(out.all) == 1 + 2 * len(kinds) + 2
    assert all(text.startswith("{") and text.endswith("}\n") for text in out.all)


def test_without_standard_output_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `print` does."""
    monkeypatch.setattr(sys, "stdout", None)
    print_line("text")
