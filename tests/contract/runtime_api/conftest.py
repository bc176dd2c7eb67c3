"""Every transport on every event loop it is for."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from lmi_runtime.rapi import HttpRuntimeApi
from lmi_runtime.rapi.anyio_transport import connect_anyio
from lmi_runtime.rapi.asyncio_transport import connect_asyncio
from lmi_runtime.rapi.backoff import Backoff
from lmi_runtime.rapi.transport import Connect

_ASYNCIO = ("asyncio", {"use_uvloop": False})
_UVLOOP = ("asyncio", {"use_uvloop": True})


@dataclass(frozen=True)
class Leg:
    """One transport on one event loop; `connect` None leaves the choice to the client."""

    backend: tuple[str, dict[str, Any]]
    connect: Connect | None


EARLY_READERS = [
    pytest.param(Leg(_ASYNCIO, connect_asyncio), id="asyncio"),
    pytest.param(Leg(_UVLOOP, connect_asyncio), id="uvloop"),
]
"""Legs that read an answer while they still send."""


@pytest.fixture(
    params=[
        *EARLY_READERS,
        pytest.param(Leg(_ASYNCIO, connect_anyio), id="anyio-on-asyncio"),
        pytest.param(Leg(_UVLOOP, connect_anyio), id="anyio-on-uvloop"),
        pytest.param(Leg(("trio", {}), None), id="trio"),
    ]
)
def leg(request: pytest.FixtureRequest) -> Leg:
    """The leg a test runs on."""
    chosen: Leg = request.param
    if chosen.backend[0] == "trio":
        pytest.importorskip("trio")
    elif chosen.backend[1]["use_uvloop"]:
        pytest.importorskip("uvloop")
    return chosen


@pytest.fixture
def anyio_backend(leg: Leg) -> tuple[str, dict[str, Any]]:
    """The event loop of the leg."""
    return leg.backend


def quick_backoff() -> Backoff:
    """A backoff without delays that never gives up: its clock stands still."""
    return Backoff(clock=lambda: 0.0, random=lambda: 0.0, first_s=0.0, cap_s=0.0)


OpenApi = Callable[..., AbstractAsyncContextManager[HttpRuntimeApi]]


@pytest.fixture
def open_api(leg: Leg) -> OpenApi:
    """Make a client for the leg's transport, and close it in the end."""

    @asynccontextmanager
    async def opened(address: str, backoff: Backoff | None = None) -> AsyncIterator[HttpRuntimeApi]:
        api = HttpRuntimeApi(address, connect=leg.connect, backoff=backoff or quick_backoff())
        try:
            yield api
        finally:
            with anyio.CancelScope(shield=True):
                await api.aclose()

    return opened


@pytest.fixture
def unused_address() -> Iterator[str]:
    """An address where connections are refused."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound but not listening, so that nobody else gets it
        yield f"127.0.0.1:{bound.getsockname()[1]}"
