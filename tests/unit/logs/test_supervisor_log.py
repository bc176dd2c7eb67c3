"""The supervisor's own lines: short, at once, or not at all."""

from __future__ import annotations

import json
import os
import threading

from lmi_runtime.logs import SupervisorLog

from .conftest import fill


def test_a_line_is_one_short_json_object(pipe: tuple[int, int]) -> None:
    log = SupervisorLog(pipe[1])

    assert log.error("é" * 9_000, worker=3)

    line = os.read(pipe[0], 65_536)
    assert len(line) <= 4_096
    assert line.endswith(b"\n")
    found = json.loads(line)
    assert (found["level"], found["worker"]) == ("ERROR", 3)


def test_a_blocked_pipe_costs_lines_and_the_next_one_says_how_many(
    pipe: tuple[int, int],
) -> None:
    filled = fill(pipe[1])
    log, threads = SupervisorLog(pipe[1]), threading.active_count()

    assert not log.info("lost")
    assert not log.warning("lost")
    assert log.dropped == 2
    while filled:
        filled -= len(os.read(pipe[0], min(filled, 65_536)))
    assert log.info("back")

    assert json.loads(os.read(pipe[0], 4_096))["dropped"] == 2
    assert log.dropped == 0
    assert threading.active_count() == threads


def test_a_reader_that_left_is_not_an_error_of_ours() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    log = SupervisorLog(write_fd, json=False)

    assert not log.emergency(b"nobody listens")
    assert log.dropped == 1
    os.close(write_fd)
