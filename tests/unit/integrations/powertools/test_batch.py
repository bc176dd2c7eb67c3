"""Batches of one processor at once: every answer names exactly its own failures."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from aws_lambda_powertools.utilities.batch import (
    AsyncBatchProcessor,
    BasePartialBatchProcessor,
    BatchProcessor,
    EventType,
    SqsFifoPartialProcessor,
    async_process_partial_response,
    process_partial_response,
)
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lmi_runtime.context import enter
from lmi_runtime.integrations.patching import Swaps, Unexpected
from lmi_runtime.integrations.powertools import batch
from lmi_runtime.integrations.safety import make_safe
from tests.support.crowd import LambdaContext, TaskCrowd, ThreadCrowd, request_of
from tests.support.patience import PATIENCE_S

make_safe()

Answer = dict[str, Any]


def record(request: int, number: int, *, fails: bool, group: str = "g") -> dict[str, Any]:
    return {
        "messageId": f"{request}-{number}",
        "body": "fail" if fails else "",
        "eventSource": "aws:sqs",
        "attributes": {"MessageGroupId": group},
    }


def event(request: int, failing: frozenset[int], count: int = 6) -> dict[str, Any]:
    return {"Records": [record(request, each, fails=each in failing) for each in range(count)]}


def failures(request: int, failing: Any) -> Answer:
    return {"batchItemFailures": [{"itemIdentifier": f"{request}-{n}"} for n in sorted(failing)]}


def in_order(answer: Answer) -> Answer:
    """Records that are handled at the same time fail in any order."""
    identifiers = sorted(each["itemIdentifier"] for each in answer["batchItemFailures"])
    return {"batchItemFailures": [{"itemIdentifier": each} for each in identifiers]}


def some(request: int) -> frozenset[int]:
    return frozenset({request % 5, (request * 7) % 5})


def handle(record: Any) -> str:
    if record.body == "fail":
        raise ValueError(record.message_id)
    return str(record.message_id)


async def handle_async(record: Any) -> str:
    await asyncio.sleep(0)
    return handle(record)


def meeting(crowd: ThreadCrowd) -> Callable[[Any], str]:
    """Handles records; everybody is in the middle of their batch at once."""

    def handler(record: Any) -> str:
        if record.message_id.endswith("-2"):
            crowd.meet()
        return handle(record)

    return handler


class ThreadedProcessor(BatchProcessor):
    """Handles records in threads of its own, as users write it."""

    def process(self) -> list[tuple[Any, ...]]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(self._process_record, self.records))


class CollectingProcessor(BasePartialBatchProcessor):
    """A processor as in the documentation: it keeps things of its own."""

    def __init__(self) -> None:
        super().__init__(EventType.SQS)
        self.collected: list[str] = []

    def _prepare(self) -> None:
        self.table = f"table of {self.records[0]['messageId']}"

    def _clean(self) -> None:
        self.batch_response = {
            "batchItemFailures": [{"itemIdentifier": each} for each in self.collected]
        }

    def _process_record(self, record: dict[str, Any]) -> Any:
        if record["body"]:
            self.collected.append(record["messageId"])
        self.handler(self._to_batch_type(record, self.event_type))
        return self.table

    async def _async_process_record(self, record: dict[str, Any]) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("bare", [False, True], ids=["served", "bare"])
class TestThreads:
    def test_a_processor_of_a_module(self, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)
        processor = BatchProcessor(EventType.SQS)
        handler = meeting(crowd)

        def serve(number: int) -> Answer:
            return process_partial_response(
                event(number, some(number)), handler, processor, LambdaContext(number)
            )

        assert crowd.serve(serve) == [failures(n, some(n)) for n in range(crowd.count)]

    def test_blocks_and_what_is_read_after_them(self, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)
        processor = BatchProcessor(EventType.SQS)
        handler = meeting(crowd)

        def serve(number: int) -> tuple[Answer, int, int]:
            with processor(event(number, some(number))["Records"], handler):
                processed = processor.process()
            crowd.meet()
            assert [each[0] == "fail" for each in processed] == [
                n in some(number) for n in range(6)
            ]
            return (
                processor.response(),
                len(processor.success_messages),
                len(processor.exceptions),
            )

        assert crowd.serve(serve) == [
            (failures(n, some(n)), 6 - len(some(n)), len(some(n))) for n in range(crowd.count)
        ]

    def test_first_in_first_out(self, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)
        processor = SqsFifoPartialProcessor()

        def handler(record: Any) -> None:
            handle(record)

        def serve(number: int) -> Answer:
            crowd.meet()
            failing = frozenset({number % 6}) if number % 2 else frozenset()
            return process_partial_response(event(number, failing), handler, processor)

        assert crowd.serve(serve) == [
            failures(n, range(n % 6, 6) if n % 2 else []) for n in range(crowd.count)
        ]

    def test_groups_that_failed(self, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)
        processor = SqsFifoPartialProcessor(skip_group_on_error=True)
        handler = meeting(crowd)

        def serve(number: int) -> Answer:
            mine, other = f"a{number % 3}", f"a{(number + 1) % 3}"
            records = [
                record(number, 0, fails=True, group=mine),
                record(number, 1, fails=False, group=other),
                record(number, 2, fails=False, group=other),
                record(number, 3, fails=False, group=mine),
            ]
            return process_partial_response({"Records": records}, handler, processor)

        assert crowd.serve(serve) == [failures(n, {0, 3}) for n in range(crowd.count)]

    def test_the_context_that_handlers_ask_for(self, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)
        processor = BatchProcessor(EventType.SQS)
        seen: dict[int, set[str]] = {}

        def handler(record: Any, lambda_context: Any) -> None:
            crowd.meet()
            number = int(record.message_id.partition("-")[0])
            seen.setdefault(number, set()).add(lambda_context.aws_request_id)

        def serve(number: int) -> Answer:
            return process_partial_response(
                event(number, frozenset(), 2), handler, processor, LambdaContext(number)
            )

        crowd.serve(serve)
        assert seen == {n: {f"request-{n}"} for n in range(crowd.count)}

    def test_what_subclasses_keep(self, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)
        processor = CollectingProcessor()

        def handler(record: Any) -> None:
            crowd.meet()

        def serve(number: int) -> Answer:
            with processor(event(number, some(number), 5)["Records"], handler):
                assert processor.process() == [f"table of {number}-0"] * 5
            return processor.response()

        assert crowd.serve(serve) == [failures(n, some(n)) for n in range(crowd.count)]
        assert processor.collected == []

    def test_async_handlers_without_a_loop(self, bare: bool) -> None:
        crowd = ThreadCrowd(bare=bare)
        processor = AsyncBatchProcessor(EventType.SQS)

        def serve(number: int) -> Answer:
            crowd.meet()
            return async_process_partial_response(
                event(number, some(number)), handle_async, processor
            )

        assert crowd.serve(serve) == [failures(n, some(n)) for n in range(crowd.count)]


@pytest.mark.parametrize("bare", [False, True], ids=["served", "bare"])
def test_records_in_helper_threads(bare: bool) -> None:
    crowd = ThreadCrowd(20, bare=bare)
    processor = ThreadedProcessor(EventType.SQS)
    handler = meeting(crowd)

    def serve(number: int) -> Answer:
        return in_order(process_partial_response(event(number, some(number)), handler, processor))

    assert crowd.serve(serve) == [failures(n, some(n)) for n in range(crowd.count)]


class UncarriedProcessor(BatchProcessor):
    """Handles records in a thread that nobody gives a context to."""

    def process(self) -> list[tuple[Any, ...]]:
        def one(record: dict[str, Any]) -> Any:
            return Context().run(self._process_record, record)

        with ThreadPoolExecutor(1) as pool:
            return list(pool.map(one, self.records))


def test_a_single_batch_reaches_threads_that_nobody_carries() -> None:
    crowd = ThreadCrowd(1, bare=True)
    processor = UncarriedProcessor(EventType.SQS)

    def serve(number: int) -> Answer:
        return process_partial_response(event(number, some(3)), handle, processor)

    assert crowd.serve(serve) == [failures(0, some(3))]


def test_threads_that_could_be_of_several_batches_fail_the_batch() -> None:
    crowd = ThreadCrowd(2, bare=True)
    processor = UncarriedProcessor(EventType.SQS)
    refused: list[str] = []

    def serve(number: int) -> None:
        with processor(event(number, frozenset())["Records"], handle):
            crowd.meet()
            with pytest.raises(RuntimeError, match="which is its"):
                processor.process()
            refused.append("")
            crowd.meet()

    crowd.serve(serve)
    assert len(refused) == 2


def test_contexts_that_serve_one_request_after_the_other() -> None:
    processor = BatchProcessor(EventType.SQS)

    def both() -> list[Answer]:
        answers = []
        for number in (1, 2):
            request = request_of(number)
            enter(request)
            answers.append(processor.response())
            process_partial_response(event(number, some(number)), handle, processor)
            answers.append(processor.response())
            request.end()
        return answers

    nothing: Answer = {"batchItemFailures": []}
    expected = [nothing, failures(1, some(1)), nothing, failures(2, some(2))]
    assert Context().run(both) == expected


class TestTasks:
    @pytest.mark.parametrize("bare", [False, True], ids=["served", "bare"])
    def test_awaited_where_a_loop_runs(self, bare: bool) -> None:
        crowd = TaskCrowd(bare=bare)
        processor = AsyncBatchProcessor(EventType.SQS)

        async def handler(record: Any) -> str:
            if record.message_id.endswith("-2"):
                await crowd.meet()
            return handle(record)

        async def serve(number: int) -> Answer:
            answer: Any = async_process_partial_response(
                event(number, some(number)), handler, processor, LambdaContext(number)
            )
            return in_order(await answer)

        assert crowd.serve(serve) == [failures(n, some(n)) for n in range(crowd.count)]

    def test_blocks_in_tasks(self) -> None:
        crowd = TaskCrowd()
        processor = AsyncBatchProcessor(EventType.SQS)

        async def handler(record: Any) -> str:
            await crowd.meet() if record.message_id.endswith("-0") else None
            return handle(record)

        async def serve(number: int) -> tuple[Answer, int]:
            with processor(event(number, some(number))["Records"], handler):
                processed: Any = processor.async_process()
                assert len(await processed) == 6
            await crowd.meet()
            return processor.response(), len(processor.fail_messages)

        assert crowd.serve(serve) == [(failures(n, some(n)), len(some(n))) for n in range(50)]

    def test_plain_handlers_in_tasks(self) -> None:
        crowd = TaskCrowd()
        processor = BatchProcessor(EventType.SQS)

        async def serve(number: int) -> Answer:
            with processor(event(number, some(number))["Records"], handle):
                await crowd.meet()
                processor.process()
                await crowd.meet()
            await crowd.meet()
            return processor.response()

        assert crowd.serve(serve) == [failures(n, some(n)) for n in range(crowd.count)]

    def test_several_within_one_request(self) -> None:
        processor = AsyncBatchProcessor(EventType.SQS)

        async def serve(_: int) -> list[Answer]:
            answers: list[Any] = [
                async_process_partial_response(event(n, some(n)), handle_async, processor)
                for n in range(20)
            ]
            return await asyncio.gather(*answers)

        [answers] = TaskCrowd(1).serve(serve)
        assert answers == [failures(n, some(n)) for n in range(20)]

    def test_batches_that_nobody_awaits_are_not_answered(self) -> None:
        processor = AsyncBatchProcessor(EventType.SQS)

        async def serve(number: int) -> None:
            with (
                pytest.raises(RuntimeError, match="await processor"),
                processor(event(number, frozenset())["Records"], handle_async),
            ):
                processor.async_process()

        TaskCrowd(1).serve(serve)

    def test_cancelled_batches_take_their_records_along(self) -> None:
        processor = AsyncBatchProcessor(EventType.SQS)
        ended: list[str] = []

        async def serve(number: int) -> None:
            started = asyncio.Event()

            async def handler(record: Any) -> None:
                started.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append(record.message_id)

            answer: Any = async_process_partial_response(
                event(number, frozenset(), 3), handler, processor
            )
            task = asyncio.ensure_future(answer)
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        TaskCrowd(1).serve(serve)
        assert sorted(ended) == ["0-0", "0-1", "0-2"]

    def test_all_failed(self) -> None:
        processor = AsyncBatchProcessor(EventType.SQS)

        async def serve(number: int) -> None:
            answer: Any = async_process_partial_response(
                event(number, frozenset(range(6))), handle_async, processor
            )
            with pytest.raises(BatchProcessingError) as caught:
                await answer
            assert len(caught.value.child_exceptions) == 6

        TaskCrowd().serve(serve)

    def test_what_processors_raise_themselves(self) -> None:
        class Raising(AsyncBatchProcessor):
            async def _async_process_record(self, record: dict[str, Any]) -> Any:
                raise ZeroDivisionError

        processor = Raising(EventType.SQS)

        async def serve(number: int) -> None:
            answer: Any = async_process_partial_response(
                event(number, frozenset()), handle_async, processor
            )
            with pytest.raises(ZeroDivisionError):
                await answer

        TaskCrowd(1).serve(serve)

    def test_what_is_no_batch_is_refused_as_ever(self) -> None:
        processor = AsyncBatchProcessor(EventType.SQS)

        async def serve(_: int) -> None:
            nothing: Any = async_process_partial_response({}, handle_async, processor)
            with pytest.raises(Exception, match="Unexpected batch event type"):
                await nothing

        TaskCrowd(1).serve(serve)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_trio(backend: str) -> None:
    processor = AsyncBatchProcessor(EventType.SQS)

    async def handler(record: Any) -> str:
        await anyio.lowlevel.checkpoint()
        return handle(record)

    async def serve() -> Answer:
        answer: Any = async_process_partial_response(event(1, some(1)), handler, processor)
        return await answer

    assert in_order(anyio.run(serve, backend=backend)) == failures(1, some(1))


class TestNested:
    def test_in_a_handler_of_the_same_processor(self) -> None:
        processor = BatchProcessor(EventType.SQS)
        inner: list[Answer] = []

        def handler(record: Any) -> None:
            inner.append(process_partial_response(event(9, frozenset({1})), handle, processor))
            handle(record)

        def serve(number: int) -> Answer:
            return process_partial_response(event(0, frozenset({2, 4})), handler, processor)

        assert ThreadCrowd(1).serve(serve) == [failures(0, {2, 4})]
        assert inner == [failures(9, {1})] * 6

    def test_blocks_that_would_lose_failures_are_refused(self) -> None:
        processor = BatchProcessor(EventType.SQS)

        def handler(record: Any) -> None:
            if record.message_id == "0-3":
                with processor(event(9, frozenset())["Records"], handle):
                    processor.process()

        def serve(number: int) -> Answer:
            return process_partial_response(event(0, frozenset()), handler, processor)

        assert ThreadCrowd(1).serve(serve) == [failures(0, {3})]

    def test_processors_side_by_side(self) -> None:
        first, second = BatchProcessor(EventType.SQS), BatchProcessor(EventType.SQS)

        def serve(number: int) -> tuple[Answer, Answer]:
            with first(event(1, frozenset({1}))["Records"], handle):
                first.process()
                with second(event(2, frozenset({2}))["Records"], handle):
                    second.process()
            return first.response(), second.response()

        assert ThreadCrowd(1).serve(serve) == [(failures(1, {1}), failures(2, {2}))]


def test_contexts_do_not_remember_every_processor() -> None:
    import gc
    import weakref

    alive: list[Any] = []

    def serve(number: int) -> None:
        for each in range(60):
            processor = BatchProcessor(EventType.SQS)
            process_partial_response(event(each, some(each)), handle, processor)
            alive.append(weakref.ref(processor))
        gc.collect()
        assert sum(1 for each in alive if each() is not None) <= 20

    ThreadCrowd(1, bare=True).serve(serve)


def test_processors_that_were_made_in_a_request_serve_others() -> None:
    made: list[BatchProcessor] = []

    def make(number: int) -> None:
        made.append(BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False))

    ThreadCrowd(1).serve(make)

    def serve(number: int) -> Answer:
        return process_partial_response(event(number, frozenset(range(6))), handle, made[0])

    assert ThreadCrowd().serve(serve) == [failures(n, range(6)) for n in range(50)]


def test_outside_requests_it_is_as_it_was() -> None:
    processor = BatchProcessor(EventType.SQS)

    def anybody() -> Answer:
        return processor.response()

    assert process_partial_response(event(1, some(1)), handle, processor) == failures(1, some(1))
    assert processor.batch_response == failures(1, some(1))
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(Context().run, anybody).result() == failures(1, some(1))


class Careful(BatchProcessor):
    """Has properties, forgets attributes, and refuses batches."""

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, value: int) -> None:
        self._limit = value

    def _prepare(self) -> None:
        super()._prepare()
        self.limit = len(self.records)
        if not self.records:
            raise LookupError("nothing to do")

    def _clean(self) -> None:
        self.batch_response["limit"] = self.limit  # type: ignore[typeddict-unknown-key]
        del self._limit


def test_attributes_are_set_and_deleted_for_the_batch_only() -> None:
    crowd = ThreadCrowd()
    processor = Careful(EventType.SQS)
    processor.limit = -1
    handler = meeting(crowd)

    def serve(number: int) -> Any:
        answer: Any = process_partial_response(
            event(number, frozenset(), 3 + number % 3), handler, processor
        )
        crowd.meet()
        return answer["limit"], processor.limit

    assert crowd.serve(serve) == [(3 + n % 3, -1) for n in range(crowd.count)]


def test_batches_that_never_began_are_over() -> None:
    processor = Careful(EventType.SQS)

    def serve(number: int) -> None:
        for _ in range(2):
            with pytest.raises(LookupError), processor([], handle):
                raise AssertionError
        with pytest.raises(ZeroDivisionError), processor([{}], handle):
            raise ZeroDivisionError
        with processor([record(number, 0, fails=False)], handle):
            assert len(processor.process()) == 1

    ThreadCrowd(1).serve(serve)
    assert not batch._in_blocks


def test_processors_with_attributes_of_another_kind_are_left_alone() -> None:
    class Base(BatchProcessor):
        def __getattribute__(self, name: str) -> Any:
            return super().__getattribute__(name)

    module = SimpleNamespace(BasePartialProcessor=Base, BatchProcessor=BatchProcessor)
    with pytest.raises(Unexpected, match="__getattribute__ is not the one of every object"):
        batch.change(module, Swaps())  # type: ignore[arg-type]


class OwnCall(BatchProcessor):
    """Does not call powertools' own way to begin."""

    def __call__(self, records: Any, handler: Any, lambda_context: Any = None) -> Any:
        self.records = records
        self.handler = handler
        self._handler_accepts_lambda_context = False
        return self


def test_processors_that_begin_in_a_way_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    crowd = ThreadCrowd(10)
    processor = OwnCall(EventType.SQS)
    one_begins = threading.Lock()
    handler = meeting(crowd)

    def serve(number: int) -> Answer:
        with one_begins:
            block = processor(event(number, some(number))["Records"], handler)
            block.__enter__()
        crowd.meet()
        processor.process()
        block.__exit__(None, None, None)
        return processor.response()

    assert crowd.serve(serve) == [failures(n, some(n)) for n in range(crowd.count)]
    said = [each for each in caplog.messages if "OwnCall.__call__" in each]
    assert len(said) == 1


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_async_handlers_that_nobody_awaits_are_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    processor = BatchProcessor(EventType.SQS)

    def serve(number: int) -> None:
        process_partial_response(event(number, frozenset(), 1), handle_async, processor)

    ThreadCrowd(5).serve(serve)
    assert [each for each in caplog.messages if "AsyncBatchProcessor" in each] == [
        "handle_async is an async function, which BatchProcessor calls and never awaits, so that "
        "its messages are deleted unhandled: use AsyncBatchProcessor."
    ]


@pytest.fixture(scope="module")
def everybody() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(50) as pool:
        yield pool


batches = st.lists(st.frozensets(st.integers(0, 5), max_size=5), min_size=50, max_size=50)

# To shrink fifty batches takes minutes, and says no more.
a_few = settings(max_examples=5, deadline=None, phases=[Phase.generate])


@given(batches)
@a_few
def test_every_answer_is_of_its_own_batch_in_threads(
    everybody: ThreadPoolExecutor, failing: list[frozenset[int]]
) -> None:
    processor = BatchProcessor(EventType.SQS)
    barrier = threading.Barrier(50)

    def handler(record: Any) -> None:
        if record.message_id.endswith(("-0", "-3")):
            barrier.wait(PATIENCE_S)
        handle(record)

    def serve(number: int) -> Answer:
        try:
            return process_partial_response(event(number, failing[number]), handler, processor)
        except BaseException:
            barrier.abort()
            raise

    answers = everybody.map(lambda n: Context().run(serve, n), range(50))
    assert list(answers) == [failures(n, each) for n, each in enumerate(failing)]


@given(batches)
@a_few
def test_every_answer_is_of_its_own_batch_in_tasks(failing: list[frozenset[int]]) -> None:
    processor = AsyncBatchProcessor(EventType.SQS)
    crowd = TaskCrowd()

    async def handler(record: Any) -> None:
        if record.message_id.endswith(("-0", "-3")):
            await crowd.meet()
        handle(record)

    async def serve(number: int) -> Answer:
        answer: Any = async_process_partial_response(
            event(number, failing[number]), handler, processor
        )
        return in_order(await answer)

    assert crowd.serve(serve) == [failures(n, each) for n, each in enumerate(failing)]
