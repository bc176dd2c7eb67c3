"""What the tests of this room share: serving one invocation as the dispatcher does."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

import pytest

from lmi_runtime.context import Request, enter
from lmi_runtime.handlers import Target, make_entry, spec_of
from lmi_runtime.handlers.spec import describe
from lmi_runtime.model import Entry, Invocation, Outcome


class Serving:
    """One entry, and the way the dispatcher runs it."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        spec = spec_of(function) or describe(function, **options)
        self.entry: Entry = make_entry(Target("app.handler", function, spec))

    def request(self, body: bytes = b"{}", **fields: Any) -> Request:
        return Request(Invocation(request_id="r1", body=body, **fields))

    async def task(self, request: Request | None = None) -> Outcome:
        """Serve in the calling task, whose context becomes the request's."""
        request = request or self.request()
        enter(request)
        return await self.entry.serve(request.invocation)

    def thread(self, request: Request | None = None) -> Outcome:
        """Serve in the calling thread, in a context of its own."""
        request = request or self.request()
        context = Context()
        context.run(enter, request)
        return context.run(self.entry.serve_blocking, request.invocation)


@pytest.fixture
def serving() -> type[Serving]:
    return Serving
