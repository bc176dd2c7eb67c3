"""Every test here runs against each environment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.contract.wire.client import Wire
from tests.contract.wire.environments import Start, embedded, start_rie


def _uvloop() -> Any:
    return pytest.importorskip("uvloop").new_event_loop()


@pytest.fixture(
    params=[
        pytest.param(embedded(asyncio.new_event_loop), id="embedded"),
        pytest.param(embedded(_uvloop), id="embedded-uvloop"),
        pytest.param(start_rie, id="aws", marks=[pytest.mark.rie, pytest.mark.system]),
    ]
)
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start an environment of the kind under test; it ends with the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(request.param(**options))


@pytest.fixture
def wire(start: Start) -> Wire:
    """An environment with the usual settings, nothing polled yet."""
    return start()
