"""Puts the parts together, once per process."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import sys

from lmi_runtime.context import Request, peek
from lmi_runtime.logs.formats import Format, JsonFormat, Printed, TextFormat
from lmi_runtime.logs.handler import RootHandler
from lmi_runtime.logs.hooks import install_hooks
from lmi_runtime.logs.sinks import ERR, OUT, FramedSink, Sink, StreamSink, Turn, redirect
from lmi_runtime.logs.streams import LineStream
from lmi_runtime.logs.writers import DirectWriter, ThreadWriter, Writer
from lmi_runtime.model import LogFormat, Settings

__all__ = ["LogPipeline", "flush_request", "install", "prepare"]

CLOSE_TIMEOUT_S = 1.0
CHILD_PATIENCE_S = 1.0


class LogPipeline:
    """
    Everything that is logged, printed or warned about, on its way out.

    Made by `install` and `prepare`. While it is open, `sys.stdout` and `sys.stderr` are line
    streams, the root logger has a handler, and uncaught exceptions are logged.

    Thread safety: `flush`, `flush_request` and what comes in through the streams and loggers,
    from any thread. Everything else: main thread only.
    """

    def __init__(self, settings: Settings, sink: Sink) -> None:
        is_json = settings.log_format is LogFormat.JSON
        self._format: Format = JsonFormat() if is_json else TextFormat()
        self.sink = sink
        self._writer: Writer = self._direct(patience_s=0.0)
        self.streams = (
            LineStream(sys.stdout, "stdout", logging.INFO, self._emit_out),
            LineStream(sys.stderr, "stderr", logging.ERROR, self._emit_err),
        )
        self._handler = RootHandler(self._emit_record)
        self._handler.setFormatter(self._format.formatter)
        self._open(settings.log_level)

    def flush(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait until every whole line so far is written; False when that took too long."""
        return self._writer.flush(timeout_s)

    def flush_request(self, request: Request) -> None:
        """Send what `request` printed without ending the line. Call it when a request ends."""
        for stream in self.streams:
            stream.buffer.finish(request)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """
        Send what is left and put everything back as it was.

        Returns:
            Whether all of it was written within `timeout_s` seconds.
        """
        for stream in self.streams:
            stream.buffer.finish_all()
        self._restore_hooks()
        logging.getLogger().removeHandler(self._handler)
        out, err = self.streams
        _retarget((out, out.original), (err, err.original))
        if sys.stdout is out:
            sys.stdout = out.original
        if sys.stderr is err:
            sys.stderr = err.original
        atexit.unregister(self.close)
        _forget(self)
        return self._writer.close(timeout_s)

    def start_thread(self, sink: Sink) -> None:
        """From now on a thread of its own writes, to `sink`."""
        self.sink = sink
        self._writer = ThreadWriter(sink, self._report)

    def after_fork(self) -> None:
        """In a child: no thread, no lock and no unwritten line of the parent's is ours."""
        self._writer = self._direct(patience_s=CHILD_PATIENCE_S)
        for stream in self.streams:
            stream.buffer.forget()

    def notice(self, level: int, message: str, **fields: object) -> None:
        """Write one line about the logs themselves."""
        self._put(OUT, self._format.notice(level, message, fields), level)

    def _open(self, level: int | None) -> None:
        out, err = self.streams
        # Handlers that were made earlier hold on to the old streams, and would bypass us.
        writes_already = _retarget((out.original, out), (err.original, err))
        sys.stdout, sys.stderr = out, err
        root = logging.getLogger()
        if level is not None:
            root.setLevel(level)
        if not writes_already:
            root.addHandler(self._handler)
        self._restore_hooks = install_hooks()
        atexit.register(self.close)

    def _emit_record(self, record: logging.LogRecord) -> None:
        if self._handler.formatter is self._format.formatter:
            line = self._format.record(record)
        else:
            # A formatter of the user's own. What it makes is treated like what is printed.
            text = self._handler.format(record)
            octets = text.removesuffix("\n").encode("utf-8", "backslashreplace")
            line = self._format.printed(Printed(octets, record.name, record.levelno), peek())
        self._put(OUT, line, record.levelno)

    def _emit_out(self, line: Printed, request: Request | None) -> None:
        self._put(OUT, self._format.printed(line, request), line.level)

    def _emit_err(self, line: Printed, request: Request | None) -> None:
        self._put(ERR, self._format.printed(line, request), line.level)

    def _put(self, stream: int, line: bytes, level: int) -> None:
        self._writer.put(stream, self.sink.encode(line, level))

    def _direct(self, *, patience_s: float) -> Writer:
        return DirectWriter(self.sink, self._report, patience_s=patience_s)

    def _report(self, dropped: int) -> bytes:
        lines = "line was" if dropped == 1 else "lines were"
        line = self._format.notice(
            logging.WARNING,
            f"{dropped} log {lines} dropped: nobody read them fast enough.",
            {"dropped": dropped},
        )
        return self.sink.encode(line, logging.WARNING)


def prepare(settings: Settings, *, sink: Sink | None = None) -> LogPipeline:
    """
    Set up the logs of a process that will fork, before it imports the handler.

    User code that runs at import then finds, and keeps, the streams and the root handler that
    its requests will log through. No thread is started: lines are written at once when there
    is room for them, and dropped and counted when there is not.

    Raises:
        RuntimeError: The logs of this process are set up already.

    Thread safety: main thread only.
    """
    global _installed
    if _installed is not None:
        raise RuntimeError("The logs of this process are set up already; close them first.")
    _installed = LogPipeline(settings, sink or _standard_sink(settings))
    return _installed


def install(settings: Settings, *, sink: Sink | None = None) -> LogPipeline:
    """
    Set up the logs of a worker process, after the fork; goes on from what `prepare` set up.

    Connects to the platform's log socket when there is one, and starts the writer thread. A
    connection that cannot be made is logged, and the descriptors stay as they are.

    Args:
        settings: The format, the level and the socket.
        sink: Where lines go, instead of where `settings` say.

    Thread safety: main thread only.
    """
    pipeline = _installed or prepare(settings, sink=sink)
    chosen, failure = sink or pipeline.sink, None
    if sink is None and settings.log_socket:
        try:
            redirect(settings.log_socket)
            chosen = StreamSink(exclusive=True)
        except OSError as error:
            failure = error
    pipeline.start_thread(chosen)
    if failure is not None:
        message = f"No connection to the log socket {settings.log_socket}: {failure}"
        pipeline.notice(logging.WARNING, message)
    return pipeline


def flush_request(request: Request) -> None:
    """
    Send what `request` printed without ending the line. Call it when a request ends.

    Thread safety: any thread. Costs nothing while there is nothing to send.
    """
    if _installed is not None:
        _installed.flush_request(request)


_installed: LogPipeline | None = None  # main thread only; read from any


def _standard_sink(settings: Settings) -> Sink:
    fd = os.environ.pop("_LAMBDA_TELEMETRY_LOG_FD", None)
    if fd is not None and fd.isdigit():
        return FramedSink(int(fd), json=settings.log_format is LogFormat.JSON)
    turn = None
    with contextlib.suppress(OSError):
        turn = Turn()
    return StreamSink(turn=turn)


def _retarget(*replacements: tuple[object, object]) -> bool:
    """
    Point every `StreamHandler` that writes to the first of a pair at the second.

    Returns:
        Whether the root logger has such a handler: then it needs none of ours.
    """
    root = logging.getLogger()
    named = root.manager.loggerDict.values()
    loggers = [root, *(logger for logger in named if isinstance(logger, logging.Logger))]
    found = False
    for logger, (old, new) in itertools.product(loggers, replacements):
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is old:
                handler.setStream(new)
                found = found or logger is root
    return found


def _forget(pipeline: LogPipeline) -> None:
    global _installed
    if _installed is pipeline:
        _installed = None


def _after_fork_in_child() -> None:
    if _installed is not None:
        _installed.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
