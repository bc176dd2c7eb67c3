"""What only tasks of asyncio need. Imported where its loop runs: a start does not pay for it."""

from __future__ import annotations

import asyncio
from typing import TypeVar

__all__ = ["Limit", "outlast"]

T = TypeVar("T")


class Limit(asyncio.Timeout):  # type: ignore[misc]
    """A time-out that a controlled loop knows for one; see `parking`."""

    def _on_timeout(self) -> None:
        super()._on_timeout()  # type: ignore[misc]

    _on_timeout.is_time_out = True  # type: ignore[attr-defined]


async def outlast(inner: asyncio.Task[T]) -> T:
    """Await `inner` to its end; a cancellation that arrives meanwhile is raised after it."""
    cancelled: asyncio.CancelledError | None = None
    while not inner.done():
        try:
            await asyncio.wait((inner,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not inner.cancelled():
            inner.exception()  # what it raised gives way to the cancellation
        raise cancelled
    return inner.result()
