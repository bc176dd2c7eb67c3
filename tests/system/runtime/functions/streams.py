"""Handlers that send their answer while they make it."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.lowlevel

from lmi_runtime import HttpHead, handler


@handler
async def main(event: Any, context: Any) -> AsyncIterator[Any]:
    if event.get("head"):
        yield HttpHead(status=201, headers={"x-made-by": "test"}, cookies=["a=b"])
    for number in range(event["chunks"]):
        if number == event.get("fail_at"):
            raise ValueError("midway")
        await anyio.lowlevel.checkpoint()
        yield f"{context.aws_request_id} {number}\n" + "x" * event.get("bytes", 0)
    if event.get("fail_at") == event["chunks"]:
        raise SystemExit(3)


@handler(concurrency="threads")
def in_threads(event: Any, context: Any) -> Iterator[Any]:
    for number in range(event["chunks"]):
        if number == event.get("fail_at"):
            raise ValueError("midway")
        time.sleep(0)
        yield f"{context.aws_request_id} {number}\n"
