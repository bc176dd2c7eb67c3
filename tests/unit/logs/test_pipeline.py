"""Everything a process says, from the call to the line."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import socket
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from lmi_runtime.context import Request, enter, peek, spawn_thread
from lmi_runtime.logs import (
    JsonFormatter,
    LogPipeline,
    TextFormatter,
    flush_request,
    install,
    prepare,
)
from lmi_runtime.logs.handler import RootHandler
from lmi_runtime.model import Invocation, LogFormat
from tests.support.patience import PATIENCE_S

from .conftest import MemorySink, invoke, settings

log = logging.getLogger("app")


def root_handler() -> RootHandler:
    (handler,) = (h for h in logging.getLogger().handlers if isinstance(h, RootHandler))
    return handler


def make_record(message: object) -> logging.LogRecord:
    return log.makeRecord("app", logging.INFO, "f", 1, message, (), None)


def test_a_logged_line_names_its_request(pipeline: LogPipeline, sink: MemorySink) -> None:
    invoke("r1", lambda: log.info("hello %s", "you", extra={"order": 7}), tenant_id="t1")
    log.warning("outside")

    assert pipeline.flush(PATIENCE_S)
    inside, outside = sink.objects()
    assert inside == {
        "timestamp": inside["timestamp"],
        "level": "INFO",
        "message": "hello you",
        "logger": "app",
        "requestId": "r1",
        "tenantId": "t1",
        "order": 7,
    }
    assert "requestId" not in outside


@pytest.mark.parametrize("formatter", [TextFormatter, JsonFormatter])
def test_our_formatter_on_a_handler_of_the_users_own_names_the_request_too(
    pipeline: LogPipeline, sink: MemorySink, formatter: type[logging.Formatter]
) -> None:
    """It sees the record before the root's handler does, which must not find it taken."""
    own = logging.StreamHandler(io.StringIO())
    own.setFormatter(formatter())
    log.addHandler(own)
    try:
        invoke("r1", lambda: log.info("hello"), tenant_id="t1")
    finally:
        log.removeHandler(own)

    assert "r1" in own.stream.getvalue()
    assert pipeline.flush(PATIENCE_S)
    (line,) = sink.objects()
    assert (line["requestId"], line["tenantId"]) == ("r1", "t1")


def test_the_level_comes_from_the_settings(pipeline: LogPipeline, sink: MemorySink) -> None:
    log.debug("too quiet")

    assert pipeline.flush(PATIENCE_S)
    assert sink.lines() == []


def test_printed_lines_name_their_request_and_stream(
    pipeline: LogPipeline, sink: MemorySink
) -> None:
    invoke("r1", lambda: print("one", 2, {"three": 3}))
    invoke("r2", lambda: print("oops", file=sys.stderr))

    assert pipeline.flush(PATIENCE_S)
    out, err = sink.objects()
    assert (out["requestId"], out["level"], out["logger"]) == ("r1", "INFO", "stdout")
    assert out["message"] == "one 2 {'three': 3}"
    assert (err["requestId"], err["level"], err["logger"]) == ("r2", "ERROR", "stderr")
    assert [stream for stream, _ in sink.writes] == [0, 1]


def test_a_json_line_passes_byte_for_byte(pipeline: LogPipeline, sink: MemorySink) -> None:
    line = '{"_aws":{"CloudWatchMetrics":[]},   "é": 1.0}'

    invoke("r1", lambda: print(line))

    assert pipeline.flush(PATIENCE_S)
    assert sink.lines() == [line.encode()]


def test_what_a_request_left_unfinished_is_sent_when_it_ends(
    pipeline: LogPipeline, sink: MemorySink
) -> None:
    first = invoke("r1", lambda: print("half", end=""))
    invoke("r2", lambda: print("whole"))

    flush_request(first)

    assert pipeline.flush(PATIENCE_S)
    assert [(o["requestId"], o["message"]) for o in sink.objects()] == [
        ("r2", "whole"),
        ("r1", "half"),
    ]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_interleaved_tasks_and_threads_never_mix(
    pipeline: LogPipeline, sink: MemorySink, backend: str
) -> None:
    """Every request writes a line piece by piece, giving way after each piece."""

    async def invocation(name: str) -> None:
        enter(Request(Invocation(request_id=name)))
        for piece in ("a ", "b ", name):
            print(piece, end="")
            await anyio.lowlevel.checkpoint()
        print()
        log.info("logged by %s", name)
        await anyio.to_thread.run_sync(lambda: log.info("logged by %s", name))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(invocation, f"r{n}")

    anyio.run(main, backend=backend)

    assert pipeline.flush(PATIENCE_S)
    found = [(o["requestId"], o["message"]) for o in sink.objects()]
    expected = [(f"r{n}", f"a b r{n}") for n in range(20)]
    expected += [(f"r{n}", f"logged by r{n}") for n in range(20)] * 2
    assert sorted(found) == sorted(expected)


def test_the_request_is_that_of_the_caller_not_of_the_formatter(
    pipeline: LogPipeline, sink: MemorySink
) -> None:
    """A record that was stamped in one thread and handled in another keeps its request."""
    record = make_record("queued")
    record.aws_request_id = "r1"

    invoke("r2", lambda: log.handle(record))

    assert pipeline.flush(PATIENCE_S)
    assert sink.objects()[0]["requestId"] == "r1"


def test_an_object_that_is_slow_to_show_holds_up_nobody_else(
    pipeline: LogPipeline, sink: MemorySink
) -> None:
    inside, go = threading.Event(), threading.Event()

    class Slow:
        def __str__(self) -> str:
            inside.set()
            assert go.wait(PATIENCE_S)
            return "slow"

    # The handler alone: those of the test runner do hold a lock while they format.
    handler = root_handler()
    slow, quick = (make_record(message) for message in (Slow(), "quick"))
    thread = threading.Thread(target=handler.handle, args=(slow,))
    thread.start()
    assert inside.wait(PATIENCE_S)
    handler.handle(quick)
    go.set()
    thread.join(PATIENCE_S)

    assert pipeline.flush(PATIENCE_S)
    assert [o["message"] for o in sink.objects()] == ["quick", "slow"]


def test_warnings_are_logged(pipeline: LogPipeline, sink: MemorySink) -> None:
    def handler() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            # The test runner records warnings; the logs take them from showwarning.
            logging.captureWarnings(False)
            logging.captureWarnings(True)
            warnings.warn("careful", stacklevel=1)

    invoke("r1", handler)

    assert pipeline.flush(PATIENCE_S)
    (found,) = sink.objects()
    assert "UserWarning: careful" in found["message"]
    assert (found["level"], found["logger"], found["requestId"]) == ("WARNING", "py.warnings", "r1")


def test_an_exception_that_ends_a_thread_is_logged_with_its_request(
    pipeline: LogPipeline, sink: MemorySink
) -> None:
    invoke("r1", lambda: spawn_thread(lambda: 1 / 0).join(PATIENCE_S))
    plain = threading.Thread(target=lambda: 1 / 0, name="plain")
    plain.start()
    plain.join(PATIENCE_S)

    assert pipeline.flush(PATIENCE_S)
    ours, other = sink.objects()
    assert ours["requestId"] == "r1"
    assert ours["errorType"] == other["errorType"] == "ZeroDivisionError"
    assert other["message"] == "Uncaught exception in thread plain"
    assert "requestId" not in other


def test_uncaught_and_unraisable_exceptions_are_logged(
    pipeline: LogPipeline, sink: MemorySink
) -> None:
    class Bad:
        def __del__(self) -> None:
            raise ValueError("in a finalizer")

    def collect() -> None:
        Bad()

    error = KeyError("k")
    sys.excepthook(KeyError, error, None)
    invoke("r1", collect)

    assert pipeline.flush(PATIENCE_S)
    uncaught, ignored = sink.objects()
    assert (uncaught["level"], uncaught["errorType"]) == ("CRITICAL", "KeyError")
    assert ignored["errorMessage"] == "in a finalizer"
    assert "requestId" not in ignored, "whose finalizer runs there is chance"


@pytest.mark.parametrize("pipeline", [LogFormat.TEXT], indirect=True)
def test_text_lines_look_like_awslambdarics(pipeline: LogPipeline, sink: MemorySink) -> None:
    invoke("r1", lambda: log.info("hello"))
    invoke("r1", lambda: print("{'as': 'it is'}"))

    assert pipeline.flush(PATIENCE_S)
    logged, printed = sink.lines()
    level, _, request_id, message = logged.split(b"\t")
    assert (level, request_id, message) == (b"[INFO]", b"r1", b"hello")
    assert printed == b"{'as': 'it is'}"


def test_a_formatter_of_the_users_own_is_respected(pipeline: LogPipeline, sink: MemorySink) -> None:
    handler = root_handler()
    handler.setFormatter(logging.Formatter("%(aws_request_id)s says %(message)s"))
    invoke("r1", lambda: log.info("hello\nyou"))
    handler.setFormatter(logging.Formatter('{"mine": "%(message)s"}'))
    invoke("r1", lambda: log.info("hello"))

    assert pipeline.flush(PATIENCE_S)
    wrapped, passed = sink.objects()
    assert (wrapped["message"], wrapped["requestId"]) == ("r1 says hello\nyou", "r1")
    assert passed == {"mine": "hello"}


def test_a_stream_handler_of_the_users_own_keeps_its_level(
    pipeline: LogPipeline, sink: MemorySink
) -> None:
    """`logging.basicConfig(force=True)` writes to stderr, and still is not all errors."""
    own = logging.getLogger("own")
    handler = logging.StreamHandler()
    own.addHandler(handler)
    own.propagate = False
    try:
        invoke("r1", lambda: own.info("two\nlines"))
    finally:
        own.removeHandler(handler)

    assert pipeline.flush(PATIENCE_S)
    (found,) = sink.objects()
    assert (found["level"], found["logger"], found["requestId"]) == ("INFO", "own", "r1")
    assert found["message"] == "two\nlines"


@pytest.mark.usefixtures("_standard_streams")
def test_handlers_made_before_are_taken_along_and_given_back(sink: MemorySink) -> None:
    """A logger that captured the old stdout at import goes through the logs all the same."""
    before = sys.stdout
    handler = logging.StreamHandler(before)
    log.addHandler(handler)
    try:
        pipeline = install(settings(), sink=sink)
        invoke("r1", lambda: log.error("early bird"))
        assert pipeline.close(PATIENCE_S)
        assert handler.stream is before
    finally:
        log.removeHandler(handler)

    assert sink.objects()[0]["requestId"] == "r1"


@pytest.mark.usefixtures("_standard_streams")
def test_a_root_logger_that_writes_already_gets_no_second_handler(sink: MemorySink) -> None:
    root, handler = logging.getLogger(), logging.StreamHandler(sys.stderr)
    root.addHandler(handler)
    try:
        pipeline = install(settings(), sink=sink)
        invoke("r1", lambda: log.error("once"))
        assert pipeline.close(PATIENCE_S)
    finally:
        root.removeHandler(handler)

    assert [o["message"] for o in sink.objects()] == ["once"]


@pytest.mark.usefixtures("_standard_streams")
def test_close_puts_everything_back() -> None:
    def state() -> tuple[object, ...]:
        handlers = list(logging.getLogger().handlers)
        hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
        return sys.stdout, sys.stderr, handlers, hooks

    before = state()
    threads = threading.active_count()

    pipeline = install(settings(), sink=MemorySink())
    assert state() != before
    assert pipeline.close(PATIENCE_S)

    assert state() == before
    assert threading.active_count() == threads


@pytest.mark.usefixtures("_standard_streams")
def test_install_goes_on_from_prepare_which_starts_no_thread() -> None:
    direct, threaded = MemorySink(), MemorySink()
    threads = threading.active_count()

    prepared = prepare(settings(), sink=direct)
    print("at import")
    captured = sys.stdout
    assert threading.active_count() == threads
    with pytest.raises(RuntimeError, match="set up already"):
        prepare(settings())
    installed = install(settings(), sink=threaded)
    print("in a request", file=captured)

    assert installed is prepared
    assert installed.close(PATIENCE_S)
    assert [o["message"] for o in direct.objects()] == ["at import"]
    assert [o["message"] for o in threaded.objects()] == ["in a request"]


@pytest.mark.usefixtures("_standard_streams")
def test_a_log_socket_that_is_missing_is_logged_and_lines_go_where_they_went(
    tmp_path: Path, sink: MemorySink
) -> None:
    prepare(settings(), sink=sink)

    pipeline = install(settings(log_socket=str(tmp_path / "no.sock")))
    print("still here")

    assert pipeline.close(PATIENCE_S)
    notice, printed = sink.objects()
    assert notice["level"] == "WARNING"
    assert "no.sock" in notice["message"]
    assert printed["message"] == "still here"


def test_the_streams_can_do_what_programs_expect_of_them(
    pipeline: LogPipeline, sink: MemorySink
) -> None:
    out = sys.stdout
    assert (out.encoding, out.errors, out.isatty()) == ("utf-8", "backslashreplace", False)
    assert (out.writable(), out.readable(), out.closed) == (True, False, False)
    out.reconfigure(encoding="latin-1", line_buffering=False)  # type: ignore[union-attr]
    out.flush()
    out.close()
    out.writelines(["a\n", "b\n"])
    assert out.write("é\ud800\n") == 3
    assert out.buffer.write(b"\xffraw\n") == 5
    with pytest.raises(TypeError, match="must be str, not bytes"):
        out.write(b"bytes")  # type: ignore[arg-type]
    with pytest.raises(io.UnsupportedOperation):
        out.fileno()  # what the stream in its place says: here it has no descriptor
    with contextlib.redirect_stdout(io.StringIO()) as captured:
        print("elsewhere")

    assert captured.getvalue() == "elsewhere\n"
    assert pipeline.flush(PATIENCE_S)
    assert [o["message"] for o in sink.objects()] == ["a", "b", "é\\ud800", "�raw"]


def run(program: str, *, timeout: float = PATIENCE_S) -> list[dict[str, object]]:
    """Run a program with the logs installed; returns the JSON lines of both streams."""
    head = (
        "import logging, multiprocessing, os, sys, threading\n"
        "from lmi_runtime.logs import install, prepare\n"
        "from lmi_runtime.model import LogFormat, Settings\n"
        "settings = Settings(handler='a.b', runtime_api='', log_format=LogFormat.JSON)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", head + program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_queued_is_written_when_the_process_ends() -> None:
    lines = run("install(settings)\nfor n in range(500): print(n)\nprint('end', end='')\n")

    assert [line["message"] for line in lines] == [*map(str, range(500)), "end"]


def test_a_child_that_user_code_forks_logs_and_loses_nothing() -> None:
    """
    Even one that leaves by `os._exit`, and even when another thread held the lock.

    The parent's unwritten lines are the parent's: nothing comes twice.
    """
    lines = run(
        "logs = install(settings)\n"
        "print('half', end='')\n"
        "with logs._writer._lock:\n"
        "    logging.error('parent')\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        print('child'); logging.error('child logs'); os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "print(' whole')\n"
    )

    messages = [line["message"] for line in lines]
    assert sorted(messages) == sorted(["parent", "child", "child logs", "half whole"])


def test_multiprocessing_children_log() -> None:
    lines = run(
        "install(settings)\n"
        "job = multiprocessing.get_context('fork').Process(target=print, args=('job',))\n"
        "job.start(); job.join(20); assert job.exitcode == 0\n"
    )

    assert [line["message"] for line in lines] == ["job"]


def test_workers_go_on_from_what_was_prepared_before_the_fork() -> None:
    lines = run(
        "prepare(settings)\n"
        "logging.getLogger().setLevel('INFO')\n"
        "logging.info('import')\n"
        "for n in range(2):\n"
        "    if not os.fork():\n"
        "        logs = install(settings)\n"
        "        threading.Thread(target=print, args=(f'worker {n}',)).start()\n"
        "        sys.exit(0)\n"
        "    os.wait()\n"
    )

    assert [line["message"] for line in lines] == ["import", "worker 0", "worker 1"]


def test_the_log_socket_gets_one_connection_a_stream(tmp_path: Path) -> None:
    """Standard output and error, of this process and its children, go to the socket."""
    path = str(tmp_path / "log.sock")
    program = (
        "import subprocess, sys\n"
        "from lmi_runtime.logs import install\n"
        "from lmi_runtime.model import LogFormat, Settings\n"
        "install(Settings(handler='a.b', runtime_api='', log_format=LogFormat.JSON,"
        f" log_socket={path!r}))\n"
        "print('out'); print('err', file=sys.stderr)\n"
        "subprocess.run(['echo', 'raw'], check=True)\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(path)
        server.listen()
        process = subprocess.Popen([sys.executable, "-c", program])
        server.settimeout(PATIENCE_S)
        connections = [server.accept()[0] for _ in range(2)]
        out, err = (connection.makefile("rb") for connection in connections)
        with out, err, connections[0], connections[1]:
            received = out.read().splitlines(), err.read().splitlines()
        assert process.wait(PATIENCE_S) == 0

    assert json.loads(received[1][0])["message"] == "err"
    assert {line for line in received[0] if not line.startswith(b"{")} == {b"raw"}
    assert [json.loads(line)["message"] for line in received[0] if line != b"raw"] == ["out"]


def test_peek_is_all_the_logs_take_from_a_request(pipeline: LogPipeline, sink: MemorySink) -> None:
    """A task that outlived its request still logs under its name."""

    def outlive() -> None:
        request = peek()
        assert request is not None
        request.end()
        log.info("late")

    invoke("r1", outlive)

    assert pipeline.flush(PATIENCE_S)
    assert sink.objects()[0]["requestId"] == "r1"
