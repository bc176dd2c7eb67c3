"""Fixtures for tests with a real supervising process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.system.supervisor.driver import Program


@pytest.fixture
def supervise() -> Iterator[Callable[..., Program]]:
    """Start supervising programs; they are gone when the test ends."""
    started: list[Program] = []

    def start(*prefix: str, **options: Any) -> Program:
        program = Program(*prefix, **options)
        started.append(program)
        return program

    yield start
    for program in started:
        program.close()
