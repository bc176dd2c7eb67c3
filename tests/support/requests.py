"""Code that runs as if it served a request."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import TypeVar

from lmi_runtime import _sync, context
from lmi_runtime.context import Request
from lmi_runtime.model import Invocation

__all__ = ["serving"]

T = TypeVar("T")


def serving(seconds: float, job: Callable[[], T]) -> T:
    """Run `job` as a request that has so many seconds left."""
    invocation = Invocation(request_id="r", deadline_s=_sync.monotonic() + seconds)

    def body() -> T:
        context.enter(Request(invocation))
        return job()

    return Context().run(body)
