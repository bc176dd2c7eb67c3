"""The smallest handler: async, typed, and aware of its request."""

import asyncio
from typing import Any

from lmi_runtime import current, handler


@handler
async def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    await asyncio.sleep(0.01)  # a database or an API, waited for without blocking the others
    return {"hello": event.get("name", "world"), "request": current().request_id}
