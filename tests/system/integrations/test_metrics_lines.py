"""Metrics of many threads on a standard output that is not buffered, as in functions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.support.patience import PATIENCE_S

pytest.importorskip("aws_lambda_powertools")

pytestmark = pytest.mark.system

FUNCTION = """
import sys
import threading

from lmi_runtime.integrations import make_safe

make_safe()

from aws_lambda_powertools import Metrics, single_metric
from aws_lambda_powertools.metrics.provider.datadog import DatadogMetrics

metrics = Metrics(namespace="shop", service="s")
datadog = DatadogMetrics(namespace="shop", flush_to_log=True)
sys.setswitchinterval(1e-6)


class Context:
    function_name = "function"


@metrics.log_metrics(capture_cold_start_metric=True)
@datadog.log_metrics
def handle(event, context):
    with single_metric("single", "Count", event, namespace="shop"):
        pass
    datadog.add_metric("datadog", event)
    metrics.add_metric("sold", "Count", event)


def serve(first):
    for number in range(first, first + 5):
        handle(number, Context())


threads = [threading.Thread(target=serve, args=(5 * number,)) for number in range(50)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_every_line_is_json_and_none_is_missing() -> None:
    ended = subprocess.run(
        [sys.executable, "-u", "-W", "ignore", "-c", FUNCTION],
        capture_output=True,
        check=True,
        timeout=3 * PATIENCE_S,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    blobs = [json.loads(line) for line in ended.stdout.splitlines()]

    values: Counter[tuple[str, float]] = Counter()
    for blob in blobs:
        for name in ("single", "sold", "ColdStart"):
            values.update((name, value) for value in blob.get(name, []))
        if "m" in blob:
            values["datadog", blob["v"]] += 1
    expected = {(name, each) for name in ("single", "sold", "datadog") for each in range(250)}
    assert values == dict.fromkeys({*expected, ("ColdStart", 1)}, 1)
    assert b"Traceback" not in ended.stderr
