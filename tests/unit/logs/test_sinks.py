"""Descriptors, sockets and frames."""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
import threading
from pathlib import Path

import pytest
from awslambdaric.bootstrap import FramedTelemetryLogSink
from awslambdaric.lambda_runtime_log_utils import _JSON_FRAME_TYPES, _TEXT_FRAME_TYPES

from lmi_runtime import _sync
from lmi_runtime.logs import FramedSink, StreamSink
from lmi_runtime.logs.sinks import ERR, OUT, Turn, redirect, write_fd
from tests.support.patience import PATIENCE_S

from .conftest import fill

LEVELS = [0, 5, 10, 20, 25, 30, 40, 50, 60]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("json", [True, False])
def test_a_frame_is_what_awslambdaric_writes(
    level: int, json: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_234_567_000)
    monkeypatch.setattr(_sync, "wall_time", lambda: 1.234567)
    types = _JSON_FRAME_TYPES if json else _TEXT_FRAME_TYPES
    path = tmp_path / "frames"

    with FramedTelemetryLogSink(os.open(path, os.O_WRONLY | os.O_CREAT)) as theirs:
        theirs.log("é", frame_type=types[min(50, level) // 10 * 10])

    assert FramedSink(-1, json=json).encode("é".encode(), level) == path.read_bytes()


def test_the_two_streams_go_to_their_descriptors(pipe: tuple[int, int], tmp_path: Path) -> None:
    read_fd, write_fd = pipe
    err_fd = os.open(tmp_path / "err", os.O_RDWR | os.O_CREAT)
    sink = StreamSink(write_fd, err_fd)

    sink.write(OUT, sink.encode(b"out", logging.INFO))
    sink.write(ERR, sink.encode(b"err", logging.INFO))

    os.close(err_fd)
    assert os.read(read_fd, 100) == b"out\n"
    assert (tmp_path / "err").read_bytes() == b"err\n"


def test_a_line_given_up_halfway_does_not_take_the_next_one_with_it(
    pipe: tuple[int, int],
) -> None:
    """Glued to its rest, the next line would be no JSON either."""
    read_fd, write_fd = pipe
    filled = fill(write_fd)
    assert len(os.read(read_fd, 4096)) == 4096
    sink = StreamSink(write_fd, write_fd)

    assert not sink.write(OUT, b"y" * 6000 + b"\n", patience_s=0)
    assert not sink.write(OUT, b"no room at all\n", patience_s=0)
    out = b""
    while len(out) < filled:
        out += os.read(read_fd, filled - len(out))
    assert sink.write(OUT, b"next\n", patience_s=0)
    assert sink.write(OUT, b"last\n", patience_s=0)

    assert out.endswith(b"-" + b"y" * 4096)
    assert os.read(read_fd, 100) == b"\nnext\nlast\n"


def test_a_long_write_to_a_slow_reader_arrives_whole(pipe: tuple[int, int]) -> None:
    read_fd, write_fd = pipe
    data = os.urandom(300_000)
    writer = threading.Thread(target=write_fd_blocking, args=(write_fd, data))
    writer.start()

    out = b""
    while len(out) < len(data):
        out += os.read(read_fd, 10_000)
    writer.join(PATIENCE_S)

    assert out == data


def write_fd_blocking(fd: int, data: bytes) -> None:
    # Somebody else made the descriptor non-blocking: that must make no difference.
    os.set_blocking(fd, False)
    write_fd(fd, data)


def test_without_room_patience_ends(pipe: tuple[int, int]) -> None:
    fill(pipe[1])

    assert not write_fd(pipe[1], b"x", patience_s=0)


def test_a_closed_descriptor_and_a_reader_that_left_are_errors() -> None:
    read_fd, write_end = os.pipe()
    os.close(read_fd)
    with pytest.raises(BrokenPipeError):
        write_fd(write_end, b"x", patience_s=0)
    os.close(write_end)
    with pytest.raises(OSError, match="Bad file descriptor"):
        write_fd(write_end, b"x", patience_s=0)


def test_redirect_gives_every_descriptor_a_connection_of_its_own(tmp_path: Path) -> None:
    path, fds = str(tmp_path / "log.sock"), [os.dup(1), os.dup(1)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen()

        redirect(path, (fds[0], fds[1]))

        connections = [server.accept()[0] for _ in fds]
        for fd, text in zip(fds, (b"one", b"two"), strict=True):
            assert os.get_blocking(fd)
            os.write(fd, text)
            os.close(fd)
        # Read to the end: no other copy of the descriptors may be left open.
        received = {connection.makefile("rb").read() for connection in connections}
        for connection in connections:
            connection.close()

    assert received == {b"one", b"two"}


def test_a_socket_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)

    with pytest.raises(FileNotFoundError):
        redirect(str(tmp_path / "nothing.sock"), (fd,))

    os.write(fd, b"still the file")
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == b"still the file"


def _write_lines(name: bytes, fd: int, turn: Turn) -> None:
    sink = StreamSink(fd, fd, turn=turn)
    for _ in range(20):
        sink.write(OUT, name * 20_000 + b"\n")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_processes_that_share_a_pipe_take_turns(pipe: tuple[int, int]) -> None:
    """Lines five times as long as a pipe keeps together, from three processes, stay whole."""
    fork = multiprocessing.get_context("fork")
    turn = Turn()
    writers = [
        fork.Process(target=_write_lines, args=(name, pipe[1], turn)) for name in (b"a", b"b", b"c")
    ]
    for writer in writers:
        writer.start()

    out, whole = bytearray(), 3 * 20 * 20_001
    while len(out) < whole:
        out += os.read(pipe[0], 65_536)
    for writer in writers:
        writer.join(PATIENCE_S)

    lines = bytes(out).splitlines()
    assert sorted(lines) == sorted([name * 20_000 for name in (b"a", b"b", b"c")] * 20)
