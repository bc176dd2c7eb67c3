"""powertools' lines on their way through the runtime's own logs."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lmi_runtime.integrations import make_safe
from lmi_runtime.logs import LogPipeline, install
from lmi_runtime.model import LogFormat, Settings
from tests.support.crowd import LambdaContext, TaskCrowd, ThreadCrowd

make_safe()

from aws_lambda_powertools import Logger  # noqa: E402

from tests.support.powertools_logger import make_logger  # noqa: E402


class MemorySink:
    """Keeps what it is given."""

    batch_bytes = 65_536

    def __init__(self) -> None:
        self.data = b""

    def encode(self, line: bytes, level: int) -> bytes:
        return line + b"\n"

    def write(self, stream: int, data: bytes, *, patience_s: float | None = None) -> bool:
        self.data += data
        return True


@contextmanager
def installed(sink: MemorySink, log_format: LogFormat) -> Iterator[LogPipeline]:
    level = logging.getLogger().level
    settings = Settings(handler="a.b", runtime_api="", log_format=log_format)
    pipeline = install(settings, sink=sink)
    try:
        yield pipeline
    finally:
        assert pipeline.close(10)
        logging.getLogger().setLevel(level)


LONG = "x" * 9000
"""More than a stream takes at once."""


def logger_to_stdout() -> Logger:
    logger = make_logger()
    # As it is made when the function is imported: to what is the standard output by then.
    return Logger(service=f"{logger.service}-stdout", stream=sys.stdout)


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_lines_of_threads_stay_whole_and_say_nothing_that_powertools_did_not(
    log_format: LogFormat,
) -> None:
    crowd, sink = ThreadCrowd(), MemorySink()
    with installed(sink, log_format) as pipeline:
        logger = logger_to_stdout()

        @logger.inject_lambda_context
        def handler(number: int, _: object) -> None:
            logger.append_keys(number=number, long=LONG)
            print(end=f"half a line of {number}, ")
            crowd.meet()
            for step in range(3):
                logger.info(f"step {step}")
            crowd.meet()
            print("and the other half")

        crowd.serve(lambda number: handler(number, LambdaContext(number)))
        assert pipeline.flush(10)

    check(sink)


def test_lines_of_tasks_stay_whole_and_say_nothing_that_powertools_did_not() -> None:
    crowd, sink = TaskCrowd(), MemorySink()
    with installed(sink, LogFormat.JSON) as pipeline:
        logger = logger_to_stdout()

        @logger.inject_lambda_context
        async def handler(number: int, _: object) -> None:
            logger.append_keys(number=number, long=LONG)
            print(end=f"half a line of {number}, ")
            await crowd.meet()
            for step in range(3):
                logger.info(f"step {step}")
            await crowd.meet()
            print("and the other half")

        crowd.serve(lambda number: handler(number, LambdaContext(number)))
        assert pipeline.flush(10)

    check(sink)


def check(sink: MemorySink) -> None:
    texts = sink.data.decode().splitlines()
    printed = [text for text in texts if "half a line" in text]
    logged = [json.loads(text) for text in texts if "half a line" not in text]
    assert len(printed) == 50
    assert sorted((line["number"], line["message"]) for line in logged) == [
        (number, f"step {step}") for number in range(50) for step in range(3)
    ]
    for line in logged:
        assert line["long"] == LONG
        assert line["function_request_id"] == f"request-{line['number']}"
        assert line["xray_trace_id"] == f"1-67891233-{line['number'] + 1:024x}"
        assert not {"requestId", "tenantId", "logger", "aws_request_id"} & set(line)
