"""Metrics as a process begins with them, and what they print."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("aws_lambda_powertools")

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics.provider import cold_start
from aws_lambda_powertools.metrics.provider.datadog import DatadogMetrics

from lmi_runtime.integrations import make_safe
from lmi_runtime.integrations.powertools import metrics_lost, metrics_own
from tests.support.metrics import Blobs, Crowd


@pytest.fixture(autouse=True, scope="package")
def _safe() -> None:
    make_safe()


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a process starts with; tests run where imports do."""
    monkeypatch.setattr(cold_start, "is_cold_start", True)
    monkeypatch.setattr(metrics_lost, "_told", {})
    monkeypatch.setattr(metrics_own, "_told", {})
    shared: list[Any] = [Metrics._metrics, Metrics._dimensions, Metrics._metadata]
    shared += [Metrics._default_dimensions, DatadogMetrics._metrics, DatadogMetrics._default_tags]
    yield
    for container in shared:
        container.clear()
    metrics_lost._lost.clear()


@pytest.fixture(params=["threads", "bare threads", "tasks", "bare tasks"])
def crowd(request: pytest.FixtureRequest) -> Crowd:
    return Crowd(request.param)


@pytest.fixture
def blobs(capsys: pytest.CaptureFixture[str]) -> Blobs:
    """What has been printed, line by line."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]
