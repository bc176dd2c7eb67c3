"""An order service: two lookups at once, request-scoped state, log lines that name a request."""

import asyncio
import logging
from typing import Any

from lmi_runtime import RequestScope, current
from lmi_runtime import handler as lmi_handler

logger = logging.getLogger(__name__)
logger.setLevel(logging.WARNING)


class Scope(RequestScope):
    """What one request keeps to itself; no other request ever sees it."""

    customer: str = "anonymous"


scope = Scope()


@lmi_handler(max_per_vcpu=64)
async def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    scope.customer = event.get("customer", "anonymous")
    async with asyncio.TaskGroup() as lookups:
        price = lookups.create_task(price_of(event.get("sku", "sku-1")))
        credit = lookups.create_task(credit_left())
    accepted = price.result() <= credit.result()
    if not accepted:
        logger.warning("refused: %s cannot pay %d", scope.customer, price.result())
    return {"accepted": accepted, "price": price.result(), "request": current().request_id}


async def price_of(sku: str) -> int:
    await asyncio.sleep(0.005)  # a query, awaited without holding anybody else up
    return 10 + len(sku)


async def credit_left() -> int:
    """Knows its customer without being told: it is part of the same request."""
    await asyncio.sleep(0.005)
    return 0 if scope.customer == "broke" else 1000
