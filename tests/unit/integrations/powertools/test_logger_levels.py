"""Sampling: debug lines of the request that was drawn, and of nobody else."""

from __future__ import annotations

import logging
import random
from typing import Any

import pytest

from lmi_runtime.integrations import make_safe
from tests.support.crowd import LambdaContext, TaskCrowd, ThreadCrowd

make_safe()

from aws_lambda_powertools import Logger  # noqa: E402
from aws_lambda_powertools.logging import logger as logger_module  # noqa: E402
from aws_lambda_powertools.logging.exceptions import (  # noqa: E402
    InvalidLoggerSamplingRateError,
)

from tests.support.powertools_logger import Lines, make_logger  # noqa: E402

both = pytest.mark.parametrize("bare", [False, True], ids=["request", "bare"])


class Dice:
    """Throws for whoever rolls what it was told to."""

    def __init__(self) -> None:
        self.throws: dict[str, float] = {}

    def __call__(self) -> float:
        from lmi_runtime import context

        request = context.peek()
        return self.throws.get(request.request_id if request else "import", 1.0)


@pytest.fixture
def dice(monkeypatch: pytest.MonkeyPatch) -> Dice:
    made = Dice()
    monkeypatch.setattr(random, "random", made)
    monkeypatch.setattr(logger_module, "is_cold_start", False)
    return made


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def logger(lines: Lines, dice: Dice) -> Logger:
    return make_logger(lines, sampling_rate=0.5)


DRAWN = range(0, 50, 7)


@both
class TestManyAtOnce:
    @pytest.fixture(autouse=True)
    def throws(self, dice: Dice) -> None:
        dice.throws = {f"request-{number}": 0.1 for number in DRAWN}

    def test_threads(self, logger: Logger, lines: Lines, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)

        @logger.inject_lambda_context
        def handler(number: int, _: Any) -> tuple[int, bool]:
            crowd.meet()
            logger.debug(str(number))
            crowd.meet()
            return logger.log_level, logger.isEnabledFor(logging.DEBUG)

        answers = crowd.serve(lambda number: handler(number, LambdaContext(number)))

        self.check(logger, lines, answers)

    def test_tasks(self, logger: Logger, lines: Lines, bare: bool) -> None:
        crowd = TaskCrowd(bare=bare)

        @logger.inject_lambda_context
        async def handler(number: int, _: Any) -> tuple[int, bool]:
            await crowd.meet()
            logger.debug(str(number))
            await crowd.meet()
            return logger.log_level, logger.isEnabledFor(logging.DEBUG)

        answers = crowd.serve(lambda number: handler(number, LambdaContext(number)))

        self.check(logger, lines, answers)

    def check(self, logger: Logger, lines: Lines, answers: list[Any]) -> None:
        assert sorted(line["message"] for line in lines) == sorted(DRAWN)
        assert answers == [
            (logging.DEBUG, True) if number in DRAWN else (logging.INFO, False)
            for number in range(50)
        ]
        assert logger.log_level == logging.getLogger(logger.service).level == logging.INFO
        assert not logger.isEnabledFor(logging.DEBUG)


def serve(function: Any, number: int = 0) -> Any:
    return ThreadCrowd(1).serve(lambda _: function())[0]


def test_threads_that_a_request_starts_write_by_its_level(logger: Logger, dice: Dice) -> None:
    dice.throws = {"request-0": 0.1}

    def handle() -> list[bool]:
        import threading

        logger.refresh_sample_rate_calculation()
        seen: list[bool] = []
        thread = threading.Thread(target=lambda: seen.append(logger.isEnabledFor(logging.DEBUG)))
        thread.start()
        thread.join()
        return seen

    assert serve(handle) == [True]
    assert not logger.isEnabledFor(logging.DEBUG)


def test_what_was_drawn_as_the_logger_was_made_is_for_requests_that_do_not_draw(
    lines: Lines, dice: Dice
) -> None:
    dice.throws = {"import": 0.1}
    logger = make_logger(lines, sampling_rate=0.5)

    def handle() -> tuple[bool, bool]:
        before = logger.isEnabledFor(logging.DEBUG)
        logger.refresh_sample_rate_calculation()
        return before, logger.isEnabledFor(logging.DEBUG)

    assert serve(handle) == (True, False)
    assert logger.isEnabledFor(logging.DEBUG)
    assert logger.getEffectiveLevel() == logging.DEBUG


def test_a_logger_made_in_a_request_that_was_drawn_samples_for_the_process(dice: Dice) -> None:
    dice.throws = {"request-0": 0.1}

    logger = serve(lambda: make_logger(sampling_rate=0.5))

    assert logger.isEnabledFor(logging.DEBUG)


def test_a_level_that_is_set_counts_for_requests_and_process(lines: Lines, dice: Dice) -> None:
    dice.throws = {"import": 0.1, "request-0": 0.1}
    logger = make_logger(lines, sampling_rate=0.5)

    def handle() -> bool:
        logger.refresh_sample_rate_calculation()
        logger.setLevel("ERROR")
        return logger.isEnabledFor(logging.WARNING)

    assert not serve(handle)
    assert not logger.isEnabledFor(logging.WARNING)
    assert logger.isEnabledFor(logging.ERROR)


def test_logging_that_is_disabled_stays_so(logger: Logger, dice: Dice) -> None:
    dice.throws = {"request-0": 0.1}

    def handle() -> tuple[bool, bool]:
        logger.refresh_sample_rate_calculation()
        logging.disable(logging.DEBUG)
        try:
            return logger.isEnabledFor(logging.DEBUG), logger.isEnabledFor(logging.INFO)
        finally:
            logging.disable(logging.NOTSET)

    assert serve(handle) == (False, True)


def test_other_loggers_are_as_they_were(lines: Lines) -> None:
    logger = make_logger(lines)

    assert "isEnabledFor" not in vars(logging.getLogger(logger.service))
    serve(lambda: logger.debug("x"))
    assert lines.messages() == []


def test_a_rate_that_is_none_is_refused(lines: Lines) -> None:
    with pytest.raises(InvalidLoggerSamplingRateError):
        make_logger(lines, sampling_rate="often")
