"""Has something to do before it ends."""

import asyncio
import logging
import os
import time
from typing import Any

from lmi_runtime import handler, on_shutdown

logger = logging.getLogger("function")


@on_shutdown
async def last() -> None:
    logger.info("last hook of %s", os.getpid())


@on_shutdown
async def middle() -> None:
    if os.environ.get("HANG") == "task":
        await asyncio.sleep(600)
    if os.environ.get("HANG") == "thread":
        await asyncio.to_thread(time.sleep, 600)


@on_shutdown
def first() -> None:
    logger.info("first hook of %s", os.getpid())


@handler
async def main(event: Any, context: Any) -> Any:
    if event == "hold":
        logger.info("holding")
        await asyncio.sleep(600)
    return os.getpid()
