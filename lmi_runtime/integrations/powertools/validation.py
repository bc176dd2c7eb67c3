"""Validation of what handlers return, when they have returned it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["validator"]

_OUTBOUND = "outbound_"


async def validator(
    middleware: Callable[..., Any],
    handler: Callable[..., Any],
    event: Any,
    context: Any,
    **options: Any,
) -> Any:
    """The decorator of that name, for handlers that are awaited."""
    outbound = {name: value for name, value in options.items() if name.startswith(_OUTBOUND)}
    inbound = {name: value for name, value in options.items() if name not in outbound}
    response = await middleware(handler, event, context, **inbound)
    # Theirs once more: nothing comes in, and this goes out.
    return middleware(lambda _event, _context: response, event, context, **outbound)
