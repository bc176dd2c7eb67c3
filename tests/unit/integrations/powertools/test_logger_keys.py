"""Keys of log lines: each request has its own, on top of those set as the function was imported."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from lmi_runtime.context import enter, spawn_thread
from lmi_runtime.integrations import make_safe
from tests.support.crowd import TaskCrowd, ThreadCrowd, request_of

make_safe()

from aws_lambda_powertools import Logger  # noqa: E402
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter  # noqa: E402
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers  # noqa: E402

from tests.support.patience import PATIENCE_S  # noqa: E402
from tests.support.powertools_logger import Lines, make_logger, plain_keys  # noqa: E402

both = pytest.mark.parametrize("bare", [False, True], ids=["request", "bare"])


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def logger(lines: Lines) -> Logger:
    made = make_logger(lines, given="made")
    made.append_keys(imported="import")
    return made


@pytest.fixture(params=[False, True], ids=["plain", "child"])
def either(request: pytest.FixtureRequest, logger: Logger) -> Logger:
    """The logger, or a child that shares its keys."""
    return Logger(service=logger.service, child=True) if request.param else logger


BASE = {"given": "made", "imported": "import"}


@both
class TestManyAtOnce:
    def test_threads_keep_to_their_own_keys(self, either: Logger, lines: Lines, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)

        def handle(number: int) -> list[Any]:
            seen = []
            for step in steps(either, number):
                crowd.meet()
                seen.append((plain_keys(either), step))
                either.info("seen", extra={"by": number})
            return seen

        expected = [expected_steps(number) for number in range(crowd.count)]

        assert crowd.serve(handle) == expected
        assert plain_keys(either) == BASE
        self.check_lines(lines)

    def test_tasks_keep_to_their_own_keys(self, either: Logger, lines: Lines, bare: bool) -> None:
        crowd = TaskCrowd(bare=bare)

        async def handle(number: int) -> list[Any]:
            seen = []
            for step in steps(either, number):
                await crowd.meet()
                seen.append((plain_keys(either), step))
                either.info("seen", extra={"by": number})
            return seen

        expected = [expected_steps(number) for number in range(crowd.count)]

        assert crowd.serve(handle) == expected
        assert plain_keys(either) == BASE
        self.check_lines(lines)

    @staticmethod
    def check_lines(lines: Lines) -> None:
        written = list(lines)
        assert len(written) == 50 * 10
        for line in written:
            owners = {line[key] for key in ("user", "correlation_id", "local") if key in line}
            assert {str(owner).removeprefix("inner ") for owner in owners} <= {str(line["by"])}


def steps(logger: Logger, number: int) -> Iterator[Any]:
    """Everything that changes keys, with what the logger says by itself after each."""
    logger.append_keys(user=number)
    yield None
    with logger.append_context_keys(user=f"inner {number}", imported="inner", extra_key=number):
        yield None
        with logger.append_context_keys(extra_key="innermost"):
            yield None
        yield None
    yield None
    logger.set_correlation_id(str(number))
    yield logger.get_correlation_id()
    logger.thread_safe_append_keys(local=number, other=number)
    logger.thread_safe_remove_keys(["other", "never there"])
    yield logger.thread_safe_get_current_keys()
    logger.remove_keys(["user", "never there"])
    yield None
    logger.thread_safe_clear_keys()
    yield logger.thread_safe_get_current_keys()
    logger.structure_logs(user=number)
    yield None


def expected_steps(number: int) -> list[Any]:
    mine = {**BASE, "user": number}
    inner = {**BASE, "user": f"inner {number}", "imported": "inner", "extra_key": number}
    known = {**mine, "correlation_id": str(number)}
    left = {**BASE, "correlation_id": str(number)}
    return [
        (mine, None),
        (inner, None),
        ({**inner, "extra_key": "innermost"}, None),
        (inner, None),
        (mine, None),
        (known, str(number)),
        (known, {"local": number}),
        (left, None),
        (left, {}),
        # What was appended is gone, as ever; what the logger was made with is not.
        ({"given": "made", "user": number}, None),
    ]


@both
def test_several_loggers_with_the_same_service_share_keys_and_others_do_not(bare: bool) -> None:
    one, other = make_logger(), make_logger()
    same = make_logger(service=one.service)
    crowd = ThreadCrowd(bare=bare)

    def handle(number: int) -> Any:
        one.append_keys(user=number)
        other.append_keys(user=-number)
        crowd.meet()
        return plain_keys(one), plain_keys(same), plain_keys(other)

    assert crowd.serve(handle) == [
        ({"user": number}, {"user": number}, {"user": -number}) for number in range(crowd.count)
    ]


@both
def test_a_logger_made_by_all_requests_at_once_serves_all(bare: bool, lines: Lines) -> None:
    service = make_logger().service + "-late"
    crowd = ThreadCrowd(bare=bare)

    def handle(number: int) -> Any:
        crowd.meet()
        late = make_logger(lines, service=service, given="made")
        late.append_keys(user=number)
        crowd.meet()
        late.info("once")
        return plain_keys(late)

    assert crowd.serve(handle) == [
        {"given": "made", "user": number} for number in range(crowd.count)
    ]
    assert sorted(line["user"] for line in lines) == list(range(crowd.count))
    assert {(line["service"], line["given"]) for line in lines} == {(service, "made")}


def test_a_logger_that_two_threads_make_at_once_is_set_up_once(lines: Lines) -> None:
    service = make_logger().service + "-race"
    inside = threading.Barrier(2)

    class Slow(Logger):
        def _configure_sampling(self) -> None:
            # In the middle of it; waits for the other thread, if that comes.
            with suppress(threading.BrokenBarrierError):
                inside.wait(0.2)
            super()._configure_sampling()

    crowd = ThreadCrowd(2)

    def handle(number: int) -> None:
        crowd.meet()
        logger = Slow(service=service, stream=lines)
        logger.append_keys(user=number)
        logger.info("once")

    crowd.serve(handle)

    assert sorted(line["user"] for line in lines) == [0, 1]


def in_request(number: int, function: Any) -> Any:
    """Call it in a request that is over afterwards."""
    request = request_of(number)
    scope = Context()
    scope.run(enter, request)
    try:
        return scope.run(function)
    finally:
        request.end()


class TestWithinARequest:
    def test_helper_threads_and_executors_have_its_keys(self, logger: Logger) -> None:
        def handle() -> list[Any]:
            logger.append_keys(user=1)
            logger.thread_safe_append_keys(local=1)
            seen: list[Any] = []

            def look() -> None:
                seen.append((plain_keys(logger), logger.thread_safe_get_current_keys()))
                logger.append_keys(user="the thread's")

            for start in (spawn_thread, _start):
                start(look).join()
            with ThreadPoolExecutor() as pool:
                pool.submit(look).result()
            return [*seen, plain_keys(logger)]

        theirs = ({**BASE, "user": 1}, {"local": 1})
        assert in_request(1, handle) == [theirs] * 3 + [{**BASE, "user": 1}]

    def test_tasks_and_their_threads_have_its_keys_and_siblings_apart(self, logger: Logger) -> None:
        async def look(number: int) -> Any:
            logger.append_keys(part=number)
            logger.thread_safe_append_keys(local=number)
            await asyncio.sleep(0)
            local = logger.thread_safe_get_current_keys()
            return await asyncio.to_thread(plain_keys, logger), local

        async def main() -> Any:
            logger.append_keys(user=1)
            return await asyncio.gather(*map(look, range(3)))

        assert in_request(1, lambda: asyncio.run(main())) == [
            ({**BASE, "user": 1, "part": number}, {"local": number}) for number in range(3)
        ]

    def test_trio_tasks_and_threads_have_its_keys(self, logger: Logger) -> None:
        async def main() -> Any:
            logger.append_keys(user=1)
            seen: dict[int, Any] = {}

            async def look(number: int) -> None:
                with logger.append_context_keys(user=f"inner {number}"):
                    await anyio.lowlevel.checkpoint()
                    seen[number] = await anyio.to_thread.run_sync(plain_keys, logger)

            async with anyio.create_task_group() as group:
                for number in range(3):
                    group.start_soon(look, number)
            return seen, plain_keys(logger)

        seen, keys = in_request(1, lambda: anyio.run(main, backend="trio"))

        assert seen == {number: {**BASE, "user": f"inner {number}"} for number in range(3)}
        assert keys == {**BASE, "user": 1}

    def test_a_thread_that_outlives_it_has_no_keys_of_it(self, logger: Logger) -> None:
        ended, seen = threading.Event(), []

        def stay() -> None:
            ended.wait(PATIENCE_S)
            seen.append((plain_keys(logger), logger.thread_safe_get_current_keys()))

        def handle() -> threading.Thread:
            logger.append_keys(user=1)
            logger.thread_safe_append_keys(local=1)
            return _start(stay)

        thread = in_request(1, handle)
        ended.set()
        thread.join()

        assert seen == [(BASE, {})]

    def test_a_task_that_outlives_it_still_writes_its_keys(
        self, logger: Logger, lines: Lines
    ) -> None:
        async def main() -> None:
            request = request_of(1)
            ended = asyncio.Event()

            async def stay() -> None:
                await ended.wait()
                logger.info("late")

            async def handle() -> asyncio.Task[None]:
                enter(request)
                logger.append_keys(user=1)
                return asyncio.create_task(stay())

            task = await asyncio.create_task(handle())
            request.end()
            ended.set()
            await task

        asyncio.run(main())

        assert [line["user"] for line in lines] == [1]

    def test_a_context_that_serves_a_second_one_starts_anew(self, logger: Logger) -> None:
        def handle() -> Any:
            logger.append_keys(user=1)
            logger.thread_safe_append_keys(local=1)
            enter(request_of(2))
            return plain_keys(logger), logger.thread_safe_get_current_keys()

        assert in_request(1, handle) == (BASE, {})

    def test_what_is_given_out_changes_no_line(self, logger: Logger) -> None:
        def handle() -> Any:
            logger.thread_safe_append_keys(local=1)
            logger.get_current_keys()["user"] = 2
            logger.thread_safe_get_current_keys()["local"] = 2
            return plain_keys(logger), logger.thread_safe_get_current_keys()

        assert in_request(1, handle) == (BASE, {"local": 1})

    def test_other_libraries_loggers_write_its_keys(self, logger: Logger, lines: Lines) -> None:
        import logging

        name = logger.service + "x"
        library = logging.getLogger(name)

        def configure() -> None:
            # Within a request, as lazy imports have it; it is for all of them.
            logger.append_keys(user="first")
            copy_config_to_registered_loggers(logger, include={name})
            library.warning("inside")

        crowd = ThreadCrowd(10)

        def write(number: int) -> None:
            logger.append_keys(user=number)
            crowd.meet()
            library.warning("later")

        in_request(0, configure)
        crowd.serve(write)

        assert {line["name"] for line in lines} == {name}
        first, *others = [line["user"] for line in lines]
        assert (first, sorted(others)) == ("first", list(range(10)))


class TestContextKeys:
    def test_they_are_restored_after_an_error_and_whatever_became_of_them(
        self, logger: Logger
    ) -> None:
        def handle() -> Any:
            with suppress(ZeroDivisionError), logger.append_context_keys(imported=1, new=1):
                logger.remove_keys(["imported"])
                logger.append_keys(kept=1)
                raise ZeroDivisionError
            return plain_keys(logger)

        assert in_request(1, handle) == {**BASE, "kept": 1}

    def test_they_are_restored_after_a_cancellation(self, logger: Logger) -> None:
        async def main() -> Any:
            with anyio.move_on_after(0), logger.append_context_keys(imported=1):
                await anyio.sleep(1)
            return plain_keys(logger)

        assert in_request(1, lambda: asyncio.run(main())) == BASE


class TestTraceId:
    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-of-the-process;Parent=1;Sampled=0")

    def test_it_is_the_requests(self, logger: Logger, lines: Lines) -> None:
        crowd = ThreadCrowd()

        def handle(number: int) -> None:
            crowd.meet()
            logger.info(str(number))

        crowd.serve(handle)

        assert {str(line["message"]): line["xray_trace_id"] for line in lines} == {
            str(number): f"1-67891233-{number + 1:024x}" for number in range(crowd.count)
        }

    def test_outside_requests_it_is_the_processs(self, logger: Logger, lines: Lines) -> None:
        logger.info("imported")

        assert [line["xray_trace_id"] for line in lines] == ["1-of-the-process"]

    def test_nobody_has_to_have_it(self, lines: Lines) -> None:
        in_request(1, lambda: make_logger(lines, xray_trace_id=None).info("without"))

        assert "xray_trace_id" not in next(iter(lines))


def test_import_time_keys_of_any_kind_stay_the_base(lines: Lines) -> None:
    logger = make_logger(lines)
    logger.thread_safe_append_keys(imported_local=1)
    try:

        def handle() -> Any:
            logger.thread_safe_append_keys(local=1)
            logger.info("x")
            return logger.thread_safe_get_current_keys()

        assert in_request(1, handle) == {"imported_local": 1, "local": 1}
        assert logger.thread_safe_get_current_keys() == {"imported_local": 1}
        assert next(iter(lines))["imported_local"] == 1
    finally:
        logger.thread_safe_clear_keys()


def test_the_order_of_keys_is_the_formatters(lines: Lines) -> None:
    logger = make_logger(lines, log_record_order=["message", "level"])

    def handle() -> None:
        logger.append_keys(user=1)
        with logger.append_context_keys(user=2):
            pass
        logger.info("x")

    in_request(1, handle)

    written = json.loads(lines.getvalue())
    assert list(written)[:2] == ["message", "level"]
    assert list(written).index("user") < list(written).index("xray_trace_id")


def test_a_formatter_made_within_a_request_serves_the_others(lines: Lines) -> None:
    logger = in_request(
        1, lambda: make_logger(lines, logger_formatter=LambdaPowertoolsFormatter(given=1), also=2)
    )

    assert plain_keys(logger) == {"given": 1, "also": 2}


def test_a_formatter_that_is_not_made_yet_has_no_keys() -> None:
    formatter = LambdaPowertoolsFormatter.__new__(LambdaPowertoolsFormatter)

    assert not hasattr(formatter, "log_format")
    assert not in_request(1, lambda: hasattr(formatter, "log_format"))


def test_keys_change_while_other_threads_of_the_request_write(lines: Lines) -> None:
    """The formatter's own dictionary would change its size in the middle of a line."""
    logger = make_logger(lines)
    entered, changed = threading.Event(), threading.Event()

    class Slow:
        """Its turn comes while the formatter goes through the keys."""

        def __bool__(self) -> bool:
            entered.set()
            changed.wait(PATIENCE_S)
            return False

    def handle() -> None:
        logger.append_keys(slow=Slow(), last=1)
        thread = _start(lambda: logger.info("line"))
        entered.wait(PATIENCE_S)
        logger.append_keys(more=1)
        logger.remove_keys(["last"])
        changed.set()
        thread.join()

    in_request(1, handle)

    assert [(line["last"], "more" in line) for line in lines] == [(1, False)]


def _start(target: Any) -> threading.Thread:
    thread = threading.Thread(target=target)
    thread.start()
    return thread
