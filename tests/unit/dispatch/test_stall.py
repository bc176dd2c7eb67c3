"""The watchdog names the code that blocks the loop, once, and says when it is over."""

from __future__ import annotations

import logging

import pytest

from lmi_runtime import _sync
from lmi_runtime.dispatch.stall import StallDetector, Verdict
from lmi_runtime.model import Invocation, Outcome, Success
from tests.support.patience import PATIENCE_S
from tests.unit.dispatch.conftest import serving


def test_a_loop_that_answers_is_never_reported() -> None:
    detector = StallDetector(threshold_s=1.0)
    assert [detector.look(now, answered=True) for now in (0.0, 50.0, 51.0)] == [None] * 3


def test_a_stall_is_reported_once_and_its_end_once() -> None:
    detector = StallDetector(threshold_s=1.0)
    detector.look(0.0, answered=True)
    looks = [detector.look(now, answered=False) for now in (0.5, 1.0, 1.5, 2.0)]
    assert looks == [None, Verdict(1.0, over=False), None, None]
    assert detector.look(2.5, answered=True) == Verdict(2.5, over=True)
    assert detector.look(3.0, answered=True) is None


def test_a_pause_shorter_than_the_threshold_is_no_stall() -> None:
    detector = StallDetector(threshold_s=1.0)
    detector.look(0.0, answered=True)
    assert detector.look(0.9, answered=False) is None
    assert detector.look(1.4, answered=True) is None


@pytest.mark.anyio
async def test_the_line_names_the_blocking_function_and_its_request() -> None:
    reported = _sync.Event()

    lines: list[logging.LogRecord] = []

    class Notice(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # A machine that stands still blocks the loop too, and nobody's code is named then.
            if "has been blocked" in record.msg and "blockedBy" in vars(record):
                lines.append(record)
                reported.set()

    async def blocks_the_loop(invocation: Invocation) -> Outcome:
        # Blocks until the watchdog has spoken, and no longer.
        assert reported.wait(PATIENCE_S)
        return Success(b"")

    logger = logging.getLogger("lmi_runtime.dispatch")
    notice = Notice()
    logger.addHandler(notice)
    try:
        async with serving(blocks_the_loop, stall_threshold_s=0.02) as bench:
            call = bench.api.call()
            await call.answered.wait()
    finally:
        logger.removeHandler(notice)
    assert "blocks_the_loop" in lines[0].getMessage()
    assert vars(lines[0])["blockedBy"] == "request-0"
