"""A function that calls AWS from tasks."""

import asyncio
import os
from typing import Any

from lmi_runtime.integrations import boto

barrier = asyncio.Barrier(int(os.environ["TOGETHER"]))


async def main(event: dict[str, Any], context: Any) -> None:
    await barrier.wait()
    sqs = await boto.aclient("sqs", region="eu-west-1", endpoint_url=os.environ["STUB"])
    await boto.call(sqs.list_queues, QueueNamePrefix=event["caller"])
