"""Where lines go, and that nobody waits for whoever reads them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.system.runtime.environments import Embedded, Runtime, record_of

pytestmark = pytest.mark.system

Start = Callable[..., Any]
Make = Callable[..., Runtime]


def test_every_worker_has_a_log_stream_of_its_own(start: Start) -> None:
    """Lines of two workers cannot run into one another, whatever their length."""
    runtime = start(Embedded, "tasks.main", slots=4, vcpus=2, telemetry=True, ready=4)
    workers = set(runtime.pids()[1:])
    seen: set[int] = set()
    while seen != workers:
        reply = runtime.call({"do": "chatter", "lines": 2, "bytes": 9_000})
        seen.add(int(reply.body))
        runtime.wait_for(
            lambda line: line["message"].startswith("line 1 "),
            requestId=reply.headers["x-amzn-requestid"],
        )

    sources: dict[int, set[str]] = {}
    for line in runtime.sourced():
        if "pid" in (record := record_of(line.text)):
            sources.setdefault(record["pid"], set()).add(line.source)
    assert sources.keys() == workers
    ones, others = sources.values()
    assert len(ones) == len(others) == 1
    assert not ones & others
    assert {source.partition("-")[0] for source in ones | others} == {"telemetry"}
    # One for each of a worker's two streams; the supervisor keeps the pipes it was given.
    assert runtime.environment.telemetry.connections == 4


@pytest.mark.parametrize(
    ("handler", "telemetry"),
    [("tasks.main", False), ("threads.main", True)],
    ids=["tasks-pipes", "threads-socket"],
)
def test_a_reader_that_stops_stops_nobody_else(start: Start, handler: str, telemetry: bool) -> None:
    runtime = start(Embedded, handler, telemetry=telemetry, ready=2)
    runtime.on_loop(runtime.environment.log.stop_reading)

    # More than the queue (8 MB) and both buffers of a socket (4 and 32 MB at most) can hold.
    for _ in range(5):
        assert runtime.call({"do": "chatter", "lines": 200, "bytes": 50_000}).error_type is None

    runtime.on_loop(runtime.environment.log.resume_reading)
    line = runtime.wait_for(lambda line: "dropped" in line, level="WARNING")
    assert line["message"].endswith("nobody read them fast enough.")
    request_id = str(uuid.uuid4())
    runtime.call({"do": "chatter", "lines": 1, "bytes": 1}, request_id=request_id)
    runtime.wait_for(requestId=request_id)


@pytest.mark.parametrize("telemetry", [False, True], ids=["pipes", "socket"])
def test_a_reader_that_stops_does_not_hold_up_the_end(start: Start, telemetry: bool) -> None:
    env = {"LMI_SHUTDOWN_S": "1"}
    runtime = start(Embedded, "tasks.main", telemetry=telemetry, vcpus=2, ready=2, env=env)
    runtime.on_loop(runtime.environment.log.stop_reading)
    runtime.call({"do": "chatter", "lines": 300, "bytes": 1_000})

    assert runtime.stop() == 0


def test_a_line_without_an_end_is_over_when_its_request_is(kind: Make, share: Start) -> None:
    request_id = str(uuid.uuid4())

    share(kind, "tasks.main").call({"do": "mumble", "text": "hm"}, request_id=request_id)

    share(kind, "tasks.main").wait_for(message="hm", requestId=request_id)


def test_a_line_of_any_length_is_cut_before_it_stops_the_platforms_reader(
    kind: Make, share: Start
) -> None:
    runtime = share(kind, "tasks.main")
    request_id = str(uuid.uuid4())

    for _ in range(3):
        reply = runtime.call({"do": "shout", "bytes": 200_000}, request_id=request_id)
        assert reply.error_type is None

    runtime.wait_for(message="said", requestId=request_id)
    longest = max(runtime.lines(), key=len)
    assert 60_000 < len(longest.encode()) < 65_536
    assert "... [cut" in record_of(longest)["message"]
