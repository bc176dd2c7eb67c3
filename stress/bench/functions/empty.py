"""The smallest function there is. `plain` and `task` are the same one, sync and async."""

import asyncio
import time


def plain(event, context):
    if event:
        time.sleep(event["hold_ms"] / 1000)
    return {}


async def task(event, context):
    if event:
        await asyncio.sleep(event["hold_ms"] / 1000)
    return {}
