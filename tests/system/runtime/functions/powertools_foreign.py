"""For AWS's own client, which knows nothing of us: the function makes powertools safe by itself."""

import asyncio
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from lmi_runtime import handler
from lmi_runtime.integrations.powertools import make_safe

make_safe()

logger = Logger(service="orders")
metrics = Metrics(namespace="Shop", service="orders")


@logger.inject_lambda_context
@metrics.log_metrics
def plain(event: dict[str, Any], context: Any) -> dict[str, Any]:
    before = logger.get_current_keys()
    logger.append_keys(caller=event["caller"])
    metrics.add_metric(name="orders", unit="Count", value=1)
    logger.info("served")
    return {"left over": before.get("caller"), "request": before["function_request_id"]}


@handler
@logger.inject_lambda_context
@metrics.log_metrics
async def main(event: dict[str, Any], context: Any) -> dict[str, Any]:
    before = logger.get_current_keys()
    await asyncio.sleep(0)
    logger.append_keys(caller=event["caller"])
    metrics.add_metric(name="orders", unit="Count", value=1)
    logger.info("served")
    return {"left over": before.get("caller"), "request": before["function_request_id"]}
