"""Log lines: how a stream is cut, and how reading it can stop."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmi_runtime.emulator.lines import LineLog, LineSplitter, LogLine
from lmi_runtime.emulator.options import EmulatorOptions
from lmi_runtime.emulator.telemetry import TelemetrySocket
from lmi_runtime.emulator.variables import runtime_variables

pytestmark = pytest.mark.anyio


@given(st.lists(st.binary(max_size=20)))
def test_lines_do_not_depend_on_how_the_bytes_arrive(pieces: list[bytes]) -> None:
    splitter = LineSplitter()
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    lines.extend(splitter.close())
    whole = b"".join(pieces)
    expected = whole.split(b"\n")

    assert lines == (expected if expected[-1] else expected[:-1])


def test_endless_line_is_cut() -> None:
    splitter = LineSplitter()

    assert [len(line) for line in splitter.feed(b"x" * 2_500_000)] == [1_048_576] * 2


def stream(*pieces: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    return reader


async def test_lines_are_kept_and_handed_on() -> None:
    handed: list[LogLine] = []
    log = LineLog(on_line=handed.append, keep=2)
    await log.follow(stream(b"one\ntwo\n\xff"), "stdout")

    assert handed == [LogLine("stdout", t) for t in ("one", "two", "\N{REPLACEMENT CHARACTER}")]
    assert log.lines == tuple(handed[1:])


@pytest.mark.parametrize(("length", "read_on"), [(65_535, True), (65_536, False)])
async def test_long_line_ends_the_reading_where_it_does_under_aws(
    length: int, read_on: bool
) -> None:
    log = LineLog(rie_line_limit=True)
    await log.follow(stream(b"x" * length + b"\nafter\n"), "stdout")

    assert bool(log.lines) is read_on


async def test_reading_stops_and_goes_on() -> None:
    log = LineLog()
    log.stop_reading()
    following = asyncio.create_task(log.follow(stream(b"line\n"), "stdout"))
    await asyncio.sleep(0)
    assert log.lines == ()
    log.resume_reading()
    await following

    assert log.lines == (LogLine("stdout", "line"),)


async def test_every_telemetry_connection_is_a_source_of_its_own() -> None:
    arrived = asyncio.Event()
    log = LineLog(on_line=lambda _: len(log.lines) == 2 and arrived.set())
    async with TelemetrySocket(log) as telemetry:
        writers = []
        for text in (b"a\n", b"b\n"):
            _, writer = await asyncio.open_unix_connection(telemetry.path)
            writer.write(text)
            writers.append(writer)
        await arrived.wait()
        for writer in writers:
            writer.close()

        assert {line.source for line in log.lines} == {"telemetry-1", "telemetry-2"}
        assert telemetry.connections == 2


async def test_only_this_user_can_reach_the_telemetry_socket() -> None:
    async with TelemetrySocket(LineLog()) as telemetry:
        folder = Path(telemetry.path).parent
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert not folder.exists()


def test_variables_of_another_environment_are_left_out() -> None:
    variables = runtime_variables(
        EmulatorOptions(max_concurrency=7, function_name="mine"),
        runtime_api="127.0.0.1:1",
        task_root="/code",
        inherited={
            "PATH": "/bin",
            "AWS_PROFILE": "me",
            "AWS_LAMBDA_MAX_CONCURRENCY": "99",
            "AWS_LAMBDA_CONCURRENCY_MODE": "thread",
            "_X_AMZN_TRACE_ID": "old",
        },
        extra={"MINE": "1", "TZ": "Europe/Berlin"},
        telemetry_socket="/tmp/s",
    )

    assert variables["PATH"] == "/bin"
    assert variables["AWS_PROFILE"] == "me"
    assert variables["AWS_LAMBDA_MAX_CONCURRENCY"] == "7"
    assert variables["AWS_LAMBDA_INITIALIZATION_TYPE"] == "lambda-managed-instances"
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == "mine"
    assert variables["LAMBDA_TASK_ROOT"] == "/code"
    assert variables["_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET"] == "/tmp/s"
    assert (variables["MINE"], variables["TZ"]) == ("1", "Europe/Berlin")
    assert "_X_AMZN_TRACE_ID" not in variables
    assert "AWS_LAMBDA_CONCURRENCY_MODE" not in variables
