"""Lines that are held back: each request has its own, and none goes missing without a word."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from lmi_runtime.integrations import make_safe
from tests.support.crowd import LambdaContext, TaskCrowd, ThreadCrowd

make_safe()

from aws_lambda_powertools import Logger  # noqa: E402
from aws_lambda_powertools.logging import utils  # noqa: E402
from aws_lambda_powertools.logging.buffer import LoggerBufferConfig  # noqa: E402
from aws_lambda_powertools.warnings import PowertoolsUserWarning  # noqa: E402

from tests.support.patience import PATIENCE_S  # noqa: E402
from tests.support.powertools_logger import Lines, make_logger  # noqa: E402

both = pytest.mark.parametrize("bare", [False, True], ids=["request", "bare"])


@pytest.fixture(autouse=True)
def no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def logger(lines: Lines) -> Logger:
    return make_logger(lines, buffer_config=LoggerBufferConfig(buffer_at_verbosity="INFO"))


def numbers(lines: Lines) -> dict[int, list[str]]:
    """For each request, what it wrote, in order."""
    found: dict[int, list[str]] = {}
    for line in lines:
        found.setdefault(line["number"], []).append(line["message"])
    return found


FAILED = range(0, 50, 3)


@both
class TestManyAtOnce:
    """A third of the requests logs an error, a third drops its lines, a third does nothing."""

    def test_threads(self, logger: Logger, lines: Lines, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)

        def handle(number: int) -> None:
            for step in self.steps(logger, number):
                step()
                crowd.meet()

        crowd.serve(handle)

        self.check(lines)

    def test_tasks(self, logger: Logger, lines: Lines, bare: bool) -> None:
        crowd = TaskCrowd(bare=bare)

        async def handle(number: int) -> None:
            for step in self.steps(logger, number):
                step()
                await crowd.meet()

        crowd.serve(handle)

        self.check(lines)

    def test_decorated_handlers(self, logger: Logger, lines: Lines, bare: bool) -> None:
        """Those that are done first clear what is held back, and would everybody's."""
        crowd = ThreadCrowd(bare=bare)

        @logger.inject_lambda_context(flush_buffer_on_uncaught_error=True)
        def handler(number: int, _: Any) -> None:
            logger.append_keys(number=number)
            logger.info("first")
            crowd.meet()
            if number not in FAILED:
                return
            logger.debug("second")
            raise KeyError

        def handle(number: int) -> None:
            if number in FAILED:
                with pytest.raises(KeyError):
                    handler(number, LambdaContext(number))
            else:
                handler(number, LambdaContext(number))

        crowd.serve(handle)

        assert numbers(lines) == {number: ["first", "second"] for number in FAILED}

    @staticmethod
    def steps(logger: Logger, number: int) -> list[Callable[[], Any]]:
        ends = [
            lambda: logger.error("failed"),
            logger.clear_buffer,
            lambda: None,
        ]
        return [
            lambda: logger.append_keys(number=number),
            lambda: logger.info("first"),
            lambda: logger.debug("second %s", "with arguments"),
            ends[number % 3],
            lambda: logger.info("third"),
            lambda: logger.flush_buffer() if number % 3 == 1 else None,
        ]

    @staticmethod
    def check(lines: Lines) -> None:
        found = numbers(lines)
        assert set(found) == {number for number in range(50) if number % 3 != 2}
        for number, messages in found.items():
            if number % 3 == 1:
                assert messages == ["third"]
            else:
                assert [text[:6] for text in messages] == ["first", "second", "failed"]


def serve(function: Callable[[], Any]) -> Any:
    return ThreadCrowd(1).serve(lambda _: function())[0]


def test_a_line_tells_where_it_was_logged(logger: Logger, lines: Lines) -> None:
    def handle() -> None:
        logger.info("held back")
        logger.error("at once")

    serve(handle)

    held, at_once = (line["location"] for line in lines)
    name, number = held.split(":")
    assert name == "handle"
    assert at_once == f"handle:{int(number) + 1}"


def test_a_child_holds_its_own_back(logger: Logger, lines: Lines) -> None:
    child = Logger(service=logger.service, child=True)

    def handle() -> None:
        logger.info("parent")
        child.info("child")
        child.error("failed")

    serve(handle)

    assert lines.messages() == ["child", "failed"]


def test_loggers_of_one_service_share_what_is_held_back(logger: Logger, lines: Lines) -> None:
    same = Logger(service=logger.service)

    def handle() -> None:
        logger.info("one")
        same.error("failed")

    serve(handle)

    assert lines.messages() == ["one", "failed"]


def test_the_oldest_lines_give_way_and_that_is_told(lines: Lines) -> None:
    logger = make_logger(lines, buffer_config=LoggerBufferConfig(max_bytes=3000))

    def handle() -> None:
        for number in range(50):
            logger.debug(f"line {number}")
        with pytest.warns(PowertoolsUserWarning, match="evicted"):
            logger.flush_buffer()

    serve(handle)

    written = lines.messages()
    assert written == [f"line {number}" for number in range(50 - len(written), 50)]
    assert 0 < len(written) < 50


def test_a_line_that_is_too_long_is_written_at_once_and_that_is_told(lines: Lines) -> None:
    logger = make_logger(lines, buffer_config=LoggerBufferConfig(max_bytes=300))

    def handle() -> None:
        with pytest.warns(PowertoolsUserWarning, match="exceeds total cache size 300") as told:
            logger.debug("x" * 400)
        assert told[0].filename == __file__

    serve(handle)

    assert lines.messages() == ["x" * 400]


@both
def test_a_logger_that_is_made_within_a_request_holds_back_for_the_others(
    lines: Lines, bare: bool
) -> None:
    config = LoggerBufferConfig()
    logger = serve(lambda: make_logger(lines, buffer_config=config))
    crowd = ThreadCrowd(5, bare=bare)

    def handle(number: int) -> None:
        Logger(service=logger.service).debug(f"{number} held back")
        crowd.meet()
        if number < 2:
            logger.error(f"{number} failed")

    crowd.serve(handle)

    assert sorted(lines.messages()) == ["0 failed", "0 held back", "1 failed", "1 held back"]


def test_errors_do_not_flush_when_told_not_to(lines: Lines) -> None:
    config = LoggerBufferConfig(flush_on_error_log=False)
    logger = make_logger(lines, buffer_config=config)

    def handle() -> None:
        logger.debug("held back")
        logger.error("failed")

    serve(handle)

    assert lines.messages() == ["failed"]


class TestWhileTheFunctionIsImported:
    def test_lines_are_written_at_once_as_no_invocation_will_ask_for_them(
        self, logger: Logger, lines: Lines
    ) -> None:
        logger.debug("below the logger's level")
        logger.info("written")

        assert lines.messages() == ["written"]

    def test_lines_of_a_trace_are_held_back_as_ever(
        self, logger: Logger, lines: Lines, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(2):
            monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root=1-{number};Sampled=1")
            logger.info(f"line {number}")
        logger.error("failed")

        assert lines.messages() == ["line 1", "failed"]


def test_lines_logged_while_others_are_written_are_kept(lines: Lines) -> None:
    """Writing one may log another; and so may any thread of the request."""

    class Talkative:
        def __init__(self) -> None:
            self.said = False

        def __str__(self) -> str:
            if not self.said:
                self.said = True
                logger.debug("while being written")
                thread = threading.Thread(target=lambda: logger.debug("by a thread"))
                thread.start()
                thread.join()
            return "talkative"

    logger = make_logger(lines, buffer_config=LoggerBufferConfig(), serialize_stacktrace=False)

    def handle() -> None:
        logger.debug("first")
        logger.append_keys(who=Talkative())
        logger.flush_buffer()
        assert lines.messages() == ["first"]
        logger.flush_buffer()

    serve(handle)

    assert lines.messages() == ["first", "while being written", "by a thread"]


def test_threads_of_a_request_lose_none_of_each_others_lines(lines: Lines) -> None:
    logger = make_logger(lines, buffer_config=LoggerBufferConfig(max_bytes=10**7))
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        for step in range(20):
            barrier.wait(PATIENCE_S)
            logger.debug(f"{number} {step}")
            if number == 0 and step % 5 == 0:
                logger.flush_buffer()

    def handle() -> None:
        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        logger.flush_buffer()

    serve(handle)

    assert sorted(lines.messages()) == sorted(f"{n} {step}" for n in range(8) for step in range(20))


def test_the_first_line_of_a_request_clears_nothing(
    logger: Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread's first line may be there by then."""
    monkeypatch.setattr(logger._buffer_cache, "clear", pytest.fail)

    serve(lambda: logger.info("first"))


def test_other_libraries_lines_are_held_back_with_the_requests(
    logger: Logger, lines: Lines
) -> None:
    if not hasattr(utils, "BufferingHandler"):
        pytest.skip("this version holds back its own lines only")
    name = logger.service + "x"
    utils.copy_config_to_registered_loggers(logger, include={name}, include_buffering=True)
    library = logging.getLogger(name)
    utils.copy_config_to_registered_loggers(logger, include={name}, include_buffering=True)
    crowd = ThreadCrowd()

    def handle(number: int) -> None:
        logger.append_keys(number=number)
        library.info("first")
        crowd.meet()
        if number in FAILED:
            logger.error("failed")

    crowd.serve(handle)

    assert numbers(lines) == {number: ["first", "failed"] for number in FAILED}


def test_a_buffer_ends_with_its_request(logger: Logger, lines: Lines) -> None:
    serve(lambda: logger.info("the first one's"))
    serve(lambda: logger.error("the second one's"))

    assert lines.messages() == ["the second one's"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logger.flush_buffer()
