"""The same with threads."""

import os
import threading
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from lmi_runtime import handler

logger = Logger(service="orders")
metrics = Metrics(namespace="Shop", service="orders")

barrier = threading.Barrier(int(os.environ.get("TOGETHER", "1")))


@handler(concurrency="threads")
@logger.inject_lambda_context(correlation_id_path="caller")
@metrics.log_metrics
def main(event: dict[str, Any], context: Any) -> dict[str, Any]:
    caller = event["caller"]
    logger.append_keys(caller=caller)
    metrics.add_dimension(name="caller", value=caller)
    metrics.add_metric(name="orders", unit="Count", value=event["orders"])
    barrier.wait(60)
    logger.info("served")
    return {"caller": caller}
