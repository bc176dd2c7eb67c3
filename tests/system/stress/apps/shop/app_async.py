"""The same on an event loop."""

from __future__ import annotations

import asyncio
import contextvars
import json
from typing import Any

from aws_lambda_powertools import Logger

from lmi_runtime import current, handler

logger = Logger(service="shop-async", level="INFO")
PRICES = {"book": 12, "lamp": 40}
CACHE: dict[tuple[str, str], int] = {}
LOCK = asyncio.Lock()
SLOTS = asyncio.Semaphore(2)
IN_FLIGHT: set[str] = set()
USER: contextvars.ContextVar[str] = contextvars.ContextVar("user")


async def fetch(sku: str) -> int:
    await asyncio.sleep(0.01)
    return PRICES.get(sku, 7)


async def price_of(tenant: str, sku: str) -> int:
    key = (tenant, sku)
    async with LOCK:
        if key not in CACHE:
            CACHE[key] = await fetch(sku)
    return CACHE[key]


async def audit(text: str) -> str:
    await asyncio.sleep(0)
    return f"{USER.get()}: {text}"


@handler
async def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    sku = event["pathParameters"]["sku"]
    USER.set(event["requestContext"]["authorizer"]["claims"]["name"])
    IN_FLIGHT.add(context.aws_request_id)
    try:
        async with SLOTS:
            price = await price_of(context.tenant_id, sku)
        async with asyncio.TaskGroup() as group:
            line = group.create_task(audit(sku))
            size = group.create_task(asyncio.to_thread(len, sku))
    finally:
        IN_FLIGHT.discard(context.aws_request_id)
    logger.info("priced", extra={"request": current().request_id})
    body = {"price": price, "line": line.result(), "size": size.result()}
    return {"statusCode": 200, "body": json.dumps(body)}
