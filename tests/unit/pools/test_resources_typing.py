"""What type checkers see: what is opened keeps its type, and how it is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

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
    pytest.importorskip("mypy")
    wrong = "".join(
        f"    {statement}  # type: ignore[{code}]\n" for statement, code in WRONG.items()
    )
    source = tmp_path / "checked.py"
    # Strict mypy reports an `ignore` that nothing needs: each wrong line has to be an error.
    source.write_text(f"{SOURCE}\n\nasync def misuse() -> None:\n{wrong}")

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file=",
            f"--cache-dir={tmp_path / 'cache'}",
            str(source),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
