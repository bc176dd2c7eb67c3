"""
Everything a process has to say, with the request it belongs to.

`logging`, `print`, `warnings` and uncaught exceptions become lines that name their request.
Whoever logs never waits for the pipe: a thread of its own writes, from a bounded queue.
"""

from lmi_runtime.logs.formats import JsonFormatter, TextFormatter
from lmi_runtime.logs.pipeline import LogPipeline, flush_request, install, prepare
from lmi_runtime.logs.sinks import FramedSink, Sink, StreamSink
from lmi_runtime.logs.supervisor_log import SupervisorLog

__all__ = [
    "FramedSink",
    "JsonFormatter",
    "LogPipeline",
    "Sink",
    "StreamSink",
    "SupervisorLog",
    "TextFormatter",
    "flush_request",
    "install",
    "prepare",
]
