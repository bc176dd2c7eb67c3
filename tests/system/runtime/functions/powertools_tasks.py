"""A function with powertools as they are written: at module level. Of ours there is `handler`."""

import asyncio
import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from lmi_runtime import handler

logger = Logger(service="orders")
metrics = Metrics(namespace="Shop", service="orders")

together = int(os.environ.get("TOGETHER", "1"))
barrier: asyncio.Barrier | None = None


async def meet() -> None:
    global barrier
    if barrier is None:
        barrier = asyncio.Barrier(together)
    await barrier.wait()


@handler
@logger.inject_lambda_context(correlation_id_path="caller")
@metrics.log_metrics
async def main(event: dict[str, Any], context: Any) -> dict[str, Any]:
    caller = event["caller"]
    logger.append_keys(caller=caller)
    metrics.add_dimension(name="caller", value=caller)
    metrics.add_metric(name="orders", unit="Count", value=event["orders"])
    await meet()
    logger.info("served")
    return {"caller": caller}
