"""`inject_lambda_context` around handlers of every kind, one at a time and fifty at once."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from contextvars import Context
from typing import Any

import anyio
import pytest

from lmi_runtime import context
from lmi_runtime.integrations import make_safe
from tests.support.crowd import LambdaContext, TaskCrowd, ThreadCrowd

make_safe()

from aws_lambda_powertools import Logger  # noqa: E402
from aws_lambda_powertools.logging import correlation_paths  # noqa: E402
from aws_lambda_powertools.logging import logger as logger_module  # noqa: E402
from aws_lambda_powertools.logging.buffer import LoggerBufferConfig  # noqa: E402

from tests.support.powertools_logger import Lines, make_logger, plain_keys  # noqa: E402

both = pytest.mark.parametrize("bare", [False, True], ids=["request", "bare"])


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def logger(lines: Lines) -> Logger:
    return make_logger(lines)


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logger_module, "is_cold_start", False)


def event(number: int) -> dict[str, Any]:
    return {"requestContext": {"requestId": f"api-{number}"}, "number": number}


def expected(number: int) -> dict[str, Any]:
    return {
        "cold_start": False,
        "function_name": "function",
        "function_memory_size": 128,
        "function_arn": f"arn:aws:lambda:eu-west-1:123456789012:function:f{number}",
        "function_request_id": f"request-{number}",
        "correlation_id": f"api-{number}",
        "number": number,
    }


@both
@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("clear_state", [False, True])
class TestManyAtOnce:
    def decorate(self, logger: Logger, clear_state: bool) -> Any:
        return logger.inject_lambda_context(
            correlation_id_path=correlation_paths.API_GATEWAY_REST,
            clear_state=clear_state,
            log_event=True,
        )

    def test_plain_handlers(
        self, logger: Logger, lines: Lines, bare: bool, clear_state: bool
    ) -> None:
        crowd = ThreadCrowd(bare=bare)

        @self.decorate(logger, clear_state)
        def handler(event: dict[str, Any], _: Any) -> Any:
            logger.append_keys(number=event["number"])
            crowd.meet()
            logger.info("inside")
            return plain_keys(logger)

        answers = crowd.serve(lambda number: handler(event(number), LambdaContext(number)))

        assert answers == [expected(number) for number in range(crowd.count)]
        self.check(logger, lines)

    def test_async_handlers(
        self, logger: Logger, lines: Lines, bare: bool, clear_state: bool
    ) -> None:
        crowd = TaskCrowd(bare=bare)

        @self.decorate(logger, clear_state)
        async def handler(event: dict[str, Any], _: Any) -> Any:
            logger.append_keys(number=event["number"])
            await crowd.meet()
            logger.info("inside")
            return plain_keys(logger)

        answers = crowd.serve(lambda number: handler(event(number), LambdaContext(number)))

        assert answers == [expected(number) for number in range(crowd.count)]
        self.check(logger, lines)

    def check(self, logger: Logger, lines: Lines) -> None:
        assert plain_keys(logger) == {}
        inside = [line for line in lines if line["message"] == "inside"]
        assert {line["number"]: line["function_request_id"] for line in inside} == {
            number: f"request-{number}" for number in range(50)
        }
        for line in lines:
            if line["message"] != "inside":
                number = line["message"]["number"]
                assert line["correlation_id"] == f"api-{number}"
                assert line["function_request_id"] == f"request-{number}"


@both
def test_a_cold_start_is_told_once(
    logger: Logger, bare: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger_module, "is_cold_start", True)
    crowd = ThreadCrowd(bare=bare)

    @logger.inject_lambda_context
    def handler(_: Any, __: Any) -> Any:
        return plain_keys(logger)["cold_start"]

    def serve(number: int) -> Any:
        crowd.meet()
        return handler({}, LambdaContext(number))

    assert crowd.serve(serve).count(True) == 1
    assert handler({}, LambdaContext(50)) is False


def test_two_threads_that_ask_at_once_are_not_both_told_of_a_cold_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside, answers = threading.Barrier(2), []

    class Flag:
        """Waits for the other thread to look at it, if that comes."""

        def __bool__(self) -> bool:
            with suppress(threading.BrokenBarrierError):
                inside.wait(0.1)
            return True

    monkeypatch.setattr(logger_module, "is_cold_start", Flag())
    threads = [
        threading.Thread(target=lambda: answers.append(logger_module._is_cold_start()))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [False, True]


def test_it_opens_a_request_where_there_is_none(logger: Logger) -> None:
    @logger.inject_lambda_context
    def handler(_: Any, __: Any) -> str:
        logger.append_keys(user=1)
        return context.current().request_id

    assert handler({}, LambdaContext(7)) == "request-7"
    assert context.peek() is None
    assert plain_keys(logger) == {}


def test_it_stays_in_the_one_there_is(logger: Logger) -> None:
    @logger.inject_lambda_context
    async def handler(_: Any, __: Any) -> str:
        return context.current().request_id

    assert TaskCrowd(1).serve(lambda _: handler({}, LambdaContext(7))) == ["request-0"]


class TestKinds:
    """What comes before the handler comes before it, and what comes after it after it."""

    @pytest.fixture
    def logger(self, lines: Lines) -> Logger:
        config = LoggerBufferConfig(buffer_at_verbosity="INFO", flush_on_error_log=False)
        return make_logger(lines, buffer_config=config)

    @pytest.fixture
    def decorate(self, logger: Logger) -> Any:
        return logger.inject_lambda_context(log_event=True, flush_buffer_on_uncaught_error=True)

    def test_a_function_stays_of_its_kind(self, decorate: Any) -> None:
        async def coroutine(event: Any, context: Any) -> None:
            """Says so."""

        def generator(event: Any, context: Any) -> Iterator[int]:
            yield 1

        async def async_generator(event: Any, context: Any) -> AsyncIterator[int]:
            yield 1

        assert inspect.iscoroutinefunction(decorate(coroutine))
        assert inspect.isgeneratorfunction(decorate(generator))
        assert inspect.isasyncgenfunction(decorate(async_generator))
        assert decorate(coroutine).__doc__ == "Says so."
        assert decorate(coroutine).__wrapped__ is coroutine

    def test_a_plain_handler_that_fails(self, logger: Logger, lines: Lines, decorate: Any) -> None:
        @decorate
        def handler(_: Any, __: Any) -> None:
            logger.info("inside")
            raise KeyError

        with pytest.raises(KeyError):
            handler("event", LambdaContext(1))

        assert lines.messages() == ["event", "inside"]

    def test_an_async_handler_that_fails(self, logger: Logger, lines: Lines, decorate: Any) -> None:
        @decorate
        async def handler(_: Any, __: Any) -> None:
            await asyncio.sleep(0)
            logger.info("inside")
            raise KeyError

        with pytest.raises(KeyError):
            asyncio.run(handler("event", LambdaContext(1)))

        assert lines.messages() == ["event", "inside"]
        assert {line["function_request_id"] for line in lines} == {"request-1"}

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_an_async_handler_that_is_cancelled(
        self, logger: Logger, lines: Lines, decorate: Any, backend: str
    ) -> None:
        @decorate
        async def handler(_: Any, __: Any) -> None:
            logger.info("inside")
            await anyio.sleep(60)

        async def main() -> None:
            with anyio.move_on_after(0.01):
                await handler("event", LambdaContext(1))

        anyio.run(main, backend=backend)

        assert lines.messages() == ["event", "inside"]

    def test_an_async_handler_that_succeeds_drops_what_is_held_back(
        self, logger: Logger, lines: Lines, decorate: Any
    ) -> None:
        @decorate
        async def handler(_: Any, __: Any) -> str:
            logger.info("inside")
            return "answer"

        async def main() -> str:
            with context.serving(context.Request.from_context(LambdaContext(1))):
                answer = await handler("event", LambdaContext(1))
                logger.flush_buffer()
                return answer

        assert asyncio.run(main()) == "answer"
        assert lines.messages() == []

    def test_an_object_and_a_partial(self, logger: Logger, lines: Lines, decorate: Any) -> None:
        async def function(more: str, event: Any, _: Any) -> str:
            await asyncio.sleep(0)
            logger.error("inside")
            return f"{more} {event}"

        handler = decorate(functools.partial(function, "more"))

        assert asyncio.run(handler("event", LambdaContext(1))) == "more event"
        assert [line["function_request_id"] for line in lines] == ["request-1"]

    def test_what_runs_a_coroutine_to_its_end_is_plain(
        self, logger: Logger, lines: Lines, decorate: Any
    ) -> None:
        async def coroutine(event: Any, _: Any) -> str:
            logger.error("inside")
            return f"answer to {event}"

        @functools.wraps(coroutine)
        def to_its_end(*args: Any) -> Any:
            return asyncio.run(coroutine(*args))

        assert decorate(to_its_end)("event", LambdaContext(1)) == "answer to event"
        assert [line["function_request_id"] for line in lines] == ["request-1"]

    def test_what_reads_a_generator_to_its_end_is_plain(self, decorate: Any) -> None:
        def generator(event: Any, _: Any) -> Iterator[str]:
            yield event

        @functools.wraps(generator)
        def to_its_end(*args: Any) -> Any:
            return list(generator(*args))

        assert decorate(to_its_end)("event", LambdaContext(1)) == ["event"]

    @pytest.mark.parametrize("has_loop", [True, False])
    def test_a_coroutine_behind_a_decorator_that_is_none(
        self, logger: Logger, lines: Lines, decorate: Any, has_loop: bool
    ) -> None:
        async def coroutine(_: Any, __: Any) -> None:
            await asyncio.sleep(0)
            logger.info("inside")
            raise KeyError

        @functools.wraps(coroutine)
        def hiding(*args: Any) -> Any:
            return coroutine(*args)

        handler = decorate(hiding)

        async def main() -> None:
            await handler("event", LambdaContext(1))

        def run() -> None:
            with context.serving(context.Request.from_context(LambdaContext(1))):
                asyncio.run(main() if has_loop else handler("event", LambdaContext(1)))

        with pytest.raises(KeyError):
            Context().run(run)

        assert lines.messages() == ["event", "inside"]
        assert {line["function_request_id"] for line in lines} == {"request-1"}

    def test_generators_behind_a_decorator_that_is_none(
        self, logger: Logger, lines: Lines, decorate: Any
    ) -> None:
        def generator(_: Any, __: Any) -> Iterator[str]:
            logger.info("inside")
            yield "part"
            raise KeyError

        async def async_generator(_: Any, __: Any) -> AsyncIterator[str]:
            logger.info("inside")
            yield "part"
            raise KeyError

        async def read(parts: AsyncIterator[str]) -> None:
            assert await anext(parts) == "part"
            await anext(parts)

        def run() -> None:
            with context.serving(context.Request.from_context(LambdaContext(1))):
                parts = decorate(lambda *args: generator(*args))("event", LambdaContext(1))
                assert next(parts) == "part"
                with pytest.raises(KeyError):
                    next(parts)
                parts = decorate(lambda *args: async_generator(*args))("event", LambdaContext(1))
                with pytest.raises(KeyError):
                    asyncio.run(read(parts))

        Context().run(run)

        assert lines.messages() == ["event", "inside"] * 2

    def test_a_generator_that_fails(self, logger: Logger, lines: Lines, decorate: Any) -> None:
        @decorate
        def handler(event: Any, _: Any) -> Iterator[str]:
            logger.info("inside")
            yield event
            raise KeyError

        parts = handler("event", LambdaContext(1))
        assert next(parts) == "event"
        assert lines.messages() == []
        with pytest.raises(KeyError):
            next(parts)

        assert lines.messages() == ["event", "inside"]

    def test_an_async_generator_that_fails(
        self, logger: Logger, lines: Lines, decorate: Any
    ) -> None:
        @decorate
        async def handler(event: Any, _: Any) -> AsyncIterator[str]:
            logger.info("inside")
            yield event
            raise KeyError

        async def main() -> None:
            parts = handler("event", LambdaContext(1))
            assert await anext(parts) == "event"
            assert lines.messages() == []
            with pytest.raises(KeyError):
                await anext(parts)

        asyncio.run(main())

        assert lines.messages() == ["event", "inside"]

    def test_a_generator_that_nobody_reads_to_its_end_has_not_failed(
        self, logger: Logger, lines: Lines, decorate: Any
    ) -> None:
        @decorate
        def handler(event: Any, _: Any) -> Iterator[str]:
            yield event

        parts = handler("event", LambdaContext(1))
        next(parts)
        parts.close()

        assert lines.messages() == []


def test_the_innermost_of_several_decorators_waits_too(lines: Lines) -> None:
    one, other = make_logger(lines), make_logger(lines)

    @one.inject_lambda_context
    @other.inject_lambda_context(clear_state=True)
    async def handler(_: Any, __: Any) -> tuple[Any, Any]:
        await asyncio.sleep(0)
        return plain_keys(one)["function_request_id"], plain_keys(other)["function_request_id"]

    assert asyncio.run(handler({}, LambdaContext(3))) == ("request-3", "request-3")


def test_a_durable_functions_context_is_looked_into(logger: Logger) -> None:
    if not hasattr(logger_module, "is_durable_context"):
        pytest.skip("this version knows none")

    class Durable:
        state = None
        lambda_context = LambdaContext(5)

    @logger.inject_lambda_context
    def handler(_: Any, __: Any) -> tuple[str, str]:
        return context.current().request_id, plain_keys(logger)["function_request_id"]

    assert handler({}, Durable()) == ("request-5", "request-5")
