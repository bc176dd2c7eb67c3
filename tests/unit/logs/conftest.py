"""Sinks that remember or refuse, and requests to log from."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import Any, TextIO

import pytest

from lmi_runtime.context import Request, enter
from lmi_runtime.logs import LogPipeline, install
from lmi_runtime.model import Invocation, LogFormat, Settings
from tests.support.patience import PATIENCE_S


class MemorySink:
    """Keeps what it is given. Written to by one thread, read after a flush."""

    batch_bytes = 65_536

    def __init__(self) -> None:
        self.writes: list[tuple[int, bytes]] = []

    def encode(self, line: bytes, level: int) -> bytes:
        return line + b"\n"

    def write(self, stream: int, data: bytes, *, patience_s: float | None = None) -> bool:
        self.writes.append((stream, data))
        return True

    def lines(self, *streams: int) -> list[bytes]:
        wanted = streams or (0, 1)
        return b"".join(data for stream, data in self.writes if stream in wanted).splitlines()

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


def settings(log_format: LogFormat = LogFormat.JSON, **fields: Any) -> Settings:
    return Settings(handler="a.b", runtime_api="", log_format=log_format, **fields)


def invoke(request_id: str, fn: Callable[[], object], **fields: Any) -> Request:
    """Run `fn` as one invocation, and return its request."""
    context = Context()
    request = Request(Invocation(request_id=request_id, **fields))
    context.run(enter, request)
    context.run(fn)
    return request


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def _standard_streams(monkeypatch: pytest.MonkeyPatch) -> tuple[TextIO, TextIO]:
    """Streams of our own, so that the test runner's stay out of it."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    return out, err


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """The test runner puts its own streams back after the fixtures: undo that."""
    arguments = pyfuncitem.funcargs
    if "pipeline" in arguments:
        sys.stdout, sys.stderr = arguments["pipeline"].streams
    elif "_standard_streams" in arguments:
        sys.stdout, sys.stderr = arguments["_standard_streams"]
    return (yield)


@pytest.fixture
def pipeline(
    sink: MemorySink, _standard_streams: None, request: pytest.FixtureRequest
) -> Iterator[LogPipeline]:
    """Installed logs; parametrise indirectly with a `LogFormat`."""
    log_format = getattr(request, "param", LogFormat.JSON)
    level = logging.getLogger().level
    made = install(settings(log_format, log_level=logging.INFO), sink=sink)
    yield made
    assert made.close(PATIENCE_S)
    logging.getLogger().setLevel(level)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A real pipe: the end to read from, and the end to write to."""
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    for fd in (read_fd, write_fd):
        os.close(fd)


def fill(fd: int) -> int:
    """Write to a pipe until it takes no more; returns how many bytes that took."""
    os.set_blocking(fd, False)
    total = 0
    try:
        # Ever smaller pieces: the last bytes of room do not take a large one.
        for size in (4096, 1):
            try:
                while True:
                    total += os.write(fd, b"-" * size)
            except BlockingIOError:
                continue
    finally:
        os.set_blocking(fd, True)
    return total
