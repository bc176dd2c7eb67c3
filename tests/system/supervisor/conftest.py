"""Fixtures for tests with a real supervising process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.system.supervisor.driver import Program

PATIENT = {"shutdown_budget_s": 20.0, "ready_timeout_s": 20.0}
"""A busy machine must not decide a test; those about a time-out set their own."""


@pytest.fixture
def supervise() -> Iterator[Callable[..., Program]]:
    """Start supervising programs; they are gone when the test ends."""
    started: list[Program] = []

    def start(*prefix: str, rules: dict[str, float] | None = None, **options: Any) -> Program:
        program = Program(*prefix, rules=PATIENT | (rules or {}), **options)
        started.append(program)
        return program

    yield start
    for program in started:
        program.close()
