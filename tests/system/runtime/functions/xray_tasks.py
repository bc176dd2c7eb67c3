"""Traces what it does, at the same time as others do, in tasks."""

import asyncio
import os
from typing import Any

from aws_lambda_powertools import Tracer

tracer = Tracer(service="shop", auto_patch=False)
together = asyncio.Barrier(int(os.environ["TOGETHER"]))


@tracer.capture_method
async def step(caller: int) -> None:
    await asyncio.sleep(0)
    tracer.put_annotation("caller", caller)


@tracer.capture_lambda_handler
async def main(event: dict[str, int], context: Any) -> None:
    await together.wait()
    await asyncio.gather(step(event["caller"]), asyncio.to_thread(in_thread, event["caller"]))
    await together.wait()
    tracer.put_annotation("caller", event["caller"])


@tracer.capture_method
def in_thread(caller: int) -> None:
    tracer.put_annotation("caller", caller)
