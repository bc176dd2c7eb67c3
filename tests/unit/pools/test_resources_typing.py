"""What type checkers see: what is opened keeps its type, and how it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.typing_checks import check_types

SOURCE = """
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator
from io import TextIOWrapper
from typing import Any, assert_type

from lmi_runtime.pools.resources import AsyncResource, Resource, resource


@resource
def settings() -> dict[str, int]:
    return {}


@resource
def connection() -> Iterator[bytes]:
    yield b""


@resource
def exact() -> Generator[bytes, None, None]:
    yield b""


@resource
def log_file() -> TextIOWrapper:
    return open("log")


@resource
async def token() -> str:
    return ""


@resource
async def client() -> AsyncIterator[float]:
    yield float(settings()["x"])


@resource
async def exact_client() -> AsyncGenerator[float]:
    yield 1.0


def needs(argument: int) -> int:
    return argument


async def use() -> None:
    assert_type(settings, Resource[dict[str, int]])
    assert_type(settings(), dict[str, int])
    assert_type(await settings.aget(), dict[str, int])
    assert_type(connection(), bytes)
    assert_type(exact(), bytes)
    assert_type(log_file(), TextIOWrapper)
    assert_type(token, AsyncResource[str])
    assert_type(await token(), str)
    assert_type(token.get(), str)
    assert_type(await client(), float)
    assert_type(await exact_client(), float)
    assert_type(client.opened and connection.opened, bool)
"""

WRONG = {
    "settings(1)": "call-arg",
    "settings.get()": "attr-defined",
    "await settings()": "misc",
    "len(token())": "arg-type",
    "resource(1)": "call-overload",
    "resource(needs)": "arg-type",
}


@pytest.mark.slow
def test_mypy_keeps_the_types(tmp_path: Path) -> None:
    check_types(SOURCE, "async def misuse() -> None:", WRONG, tmp_path)
