"""The event loops that every asynchronous test of this room runs on."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import TypeVar

import pytest

from lmi_runtime.context import Request, enter
from lmi_runtime.model import Invocation

T = TypeVar("T")

Serve = Callable[..., object]


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture
def make_request() -> Callable[..., Request]:
    """Build a request; keyword arguments are fields of its invocation."""

    def make(request_id: str = "r1", **fields: object) -> Request:
        return Request(Invocation(request_id=request_id, **fields))  # type: ignore[arg-type]

    return make


@pytest.fixture
def serve() -> Serve:
    """Run a function as one invocation: in a fresh context with its request entered."""

    def run(request: Request, fn: Callable[[], T]) -> T:
        context = Context()
        context.run(enter, request)
        return context.run(fn)

    return run
