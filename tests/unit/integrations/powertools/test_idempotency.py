"""Idempotent calls, many at once, within each other, awaited, and cancelled."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import json
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import Context, ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import jmespath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("aws_lambda_powertools")

from aws_lambda_powertools.utilities import idempotency
from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig
from aws_lambda_powertools.utilities.idempotency.base import IdempotencyHandler
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
    IdempotencyItemAlreadyExistsError,
    IdempotencyItemNotFoundError,
    IdempotencyPersistenceLayerError,
    IdempotencyValidationError,
)
from aws_lambda_powertools.utilities.idempotency.persistence.base import BasePersistenceLayer
from aws_lambda_powertools.utilities.idempotency.persistence.datarecord import DataRecord

from lmi_runtime import context
from lmi_runtime.integrations import make_safe
from lmi_runtime.integrations.powertools import idempotency as ours
from tests.support.crowd import COUNT, LambdaContext, TaskCrowd, ThreadCrowd, request_of
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.filterwarnings("ignore:Couldn't determine the remaining time left")


@pytest.fixture(autouse=True, scope="module")
def _safe() -> None:
    make_safe()


class Memory(BasePersistenceLayer):  # type: ignore[misc]
    """Keeps records as a table would; remembers what was done in which thread."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.records: dict[str, DataRecord] = {}
        self.threads: set[int] = set()
        self.before_put: Callable[[], object] = lambda: None
        self.after_put: Callable[[], object] = lambda: None
        self.before_delete: Callable[[], object] = lambda: None
        self.after_delete: Callable[[], object] = lambda: None

    def statuses(self) -> list[str]:
        with self.lock:
            return sorted(record.status for record in self.records.values())

    def names(self) -> set[str]:
        with self.lock:
            return {key.rpartition("#")[0].rpartition(".")[2] for key in self.records}

    def _get_record(self, idempotency_key: str) -> DataRecord:
        self.threads.add(threading.get_ident())
        with self.lock:
            if idempotency_key not in self.records:
                raise IdempotencyItemNotFoundError
            return copy.copy(self.records[idempotency_key])

    def _put_record(self, data_record: DataRecord) -> None:
        self.threads.add(threading.get_ident())
        self.before_put()
        with self.lock:
            if data_record.idempotency_key in self.records:
                raise IdempotencyItemAlreadyExistsError
            self.records[data_record.idempotency_key] = data_record
        self.after_put()

    def _update_record(self, data_record: DataRecord) -> None:
        self.threads.add(threading.get_ident())
        with self.lock:
            # As DynamoDB does: what is not there is made.
            self.records[data_record.idempotency_key] = data_record

    def _delete_record(self, data_record: DataRecord) -> None:
        self.threads.add(threading.get_ident())
        self.before_delete()
        with self.lock:
            self.records.pop(data_record.idempotency_key, None)
        self.after_delete()


@pytest.fixture
def store() -> Memory:
    return Memory()


def function(store: Memory, body: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    made: Callable[..., Any] = idempotency.idempotent_function(
        body, data_keyword_argument="data", persistence_store=store, **options
    )
    return made


class TestExactlyOnce:
    def test_threads(self, store: Memory) -> None:
        crowd = ThreadCrowd()
        calls: list[int] = []

        def body(*, data: dict[str, int]) -> int:
            calls.append(data["key"])
            crowd.meet()  # everybody else has been refused
            return data["key"]

        call = function(store, body)

        def handle(number: int) -> object:
            try:
                return call(data={"key": 7})
            except IdempotencyAlreadyInProgressError:
                crowd.meet()
                return "refused"

        answers = crowd.serve(handle)
        assert calls == [7]
        assert sorted(map(str, answers)) == ["7"] + ["refused"] * (COUNT - 1)
        assert call(data={"key": 7}) == 7
        assert calls == [7]

    def test_tasks(self, store: Memory) -> None:
        crowd = TaskCrowd()
        calls: list[int] = []

        async def body(*, data: dict[str, int]) -> int:
            calls.append(data["key"])
            await crowd.meet()
            return data["key"]

        call = function(store, body)

        async def handle(number: int) -> object:
            try:
                return await call(data={"key": 7})
            except IdempotencyAlreadyInProgressError:
                await crowd.meet()
                return "refused"

        answers = crowd.serve(handle)
        assert calls == [7]
        assert sorted(map(str, answers)) == ["7"] + ["refused"] * (COUNT - 1)
        assert asyncio.run(call(data={"key": 7})) == 7
        assert calls == [7]

    def test_different_keys_and_functions_never_mix_in_threads(self, store: Memory) -> None:
        crowd = ThreadCrowd()
        calls = [_named(function, store, number, crowd.meet) for number in range(COUNT)]
        answers = crowd.serve(lambda number: calls[number](data={"key": 1}))
        assert answers == [{"of": number} for number in range(COUNT)]
        assert store.names() == {f"function_{number}" for number in range(COUNT)}
        assert store.statuses() == ["COMPLETED"] * COUNT
        again = crowd.serve(lambda number: calls[number](data={"key": 1}))
        assert again == answers

    def test_different_keys_and_functions_never_mix_in_tasks(self, store: Memory) -> None:
        crowd = TaskCrowd()
        calls = [_named(function, store, number, crowd.meet) for number in range(COUNT)]
        answers = crowd.serve(lambda number: calls[number](data={"key": 1}))
        assert answers == [{"of": number} for number in range(COUNT)]
        assert store.names() == {f"function_{number}" for number in range(COUNT)}
        assert store.statuses() == ["COMPLETED"] * COUNT

    def test_first_use_by_many_gives_one_key(self) -> None:
        """The layer says that it is configured before it is."""
        for _ in range(5):
            store, crowd = Memory(), ThreadCrowd()
            config = IdempotencyConfig(event_key_jmespath="id", use_local_cache=True)
            calls: list[int] = []

            def body(*, data: dict[str, int], calls: list[int] = calls) -> None:
                calls.append(1)

            call = function(store, body, config=config)

            def handle(
                number: int, call: Callable[..., Any] = call, crowd: ThreadCrowd = crowd
            ) -> None:
                crowd.meet()
                with suppress(IdempotencyAlreadyInProgressError):
                    call(data={"id": 1, "number": number})

            crowd.serve(handle)
            assert len(store.records) == 1
            assert calls == [1]

    def test_who_comes_second_waits_for_the_configuration(
        self, store: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        half_way, go_on = threading.Event(), threading.Event()
        compiled = jmespath.compile

        def compile_slowly(text: str) -> Any:
            half_way.set()
            assert go_on.wait(PATIENCE_S)
            return compiled(text)

        monkeypatch.setattr(jmespath, "compile", compile_slowly)
        call = function(
            store, lambda *, data: None, config=IdempotencyConfig(event_key_jmespath="id")
        )
        first = threading.Thread(target=call, kwargs={"data": {"id": 1, "a": 1}})
        first.start()
        assert half_way.wait(PATIENCE_S)
        second = threading.Thread(target=call, kwargs={"data": {"id": 1, "a": 2}})
        second.start()
        second.join(0.05)
        assert second.is_alive()
        go_on.set()
        first.join(PATIENCE_S)
        second.join(PATIENCE_S)
        assert len(store.records) == 1


def _named(
    make: Callable[..., Any], store: Memory, number: int, meet: Callable[[], Any]
) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(meet):

        async def body(*, data: dict[str, int]) -> dict[str, int]:
            await meet()
            return {"of": number}

    else:

        def body(*, data: dict[str, int]) -> dict[str, int]:  # type: ignore[misc]
            meet()
            return {"of": number}

    body.__qualname__ = f"function_{number}"
    made: Callable[..., Any] = make(store, body)
    return made


class TestNested:
    def test_each_has_its_own_record(self, store: Memory) -> None:
        def inner(*, data: str) -> str:
            return f"inner {data}"

        def outer(*, data: str) -> str:
            return "outer " + function(store, inner)(data=data)

        call = function(store, outer)
        assert call(data="x") == "outer inner x" == call(data="x")
        assert store.statuses() == ["COMPLETED", "COMPLETED"]
        assert store.names() == {"inner", "outer"}

    def test_each_has_its_own_record_when_awaited(self, store: Memory) -> None:
        async def inner(*, data: str) -> str:
            return f"inner {data}"

        async def outer(*, data: str) -> str:
            text: str = await function(store, inner)(data=data)
            return "outer " + text

        call = function(store, outer)
        assert asyncio.run(call(data="x")) == "outer inner x"
        assert asyncio.run(call(data="x")) == "outer inner x"
        assert store.statuses() == ["COMPLETED", "COMPLETED"]
        assert store.names() == {"inner", "outer"}

    def test_siblings_within_a_call(self, store: Memory) -> None:
        async def left(*, data: str) -> str:
            await barrier.wait()
            return "left"

        async def right(*, data: str) -> str:
            await barrier.wait()
            return "right"

        async def outer(*, data: str) -> list[str]:
            calls = (function(store, each)(data=data) for each in (left, right))
            return list(await asyncio.gather(*calls))

        async def main() -> Any:
            nonlocal barrier
            barrier = asyncio.Barrier(2)
            return await function(store, outer)(data="x")

        barrier: asyncio.Barrier
        assert asyncio.run(main()) == ["left", "right"]
        assert store.names() == {"left", "right", "outer"}
        assert store.statuses() == ["COMPLETED"] * 3

    def test_a_layer_that_is_used_by_itself_means_the_last_call(self) -> None:
        store, crowd = Memory(), ThreadCrowd()

        def handle(number: int) -> Any:
            data = {"of": number}
            call = _named(function, store, number, lambda: None)
            assert call(data=data) == data
            crowd.meet()
            store.delete_record(data, ValueError())
            return data

        crowd.serve(handle)
        assert store.records == {}

    trees = st.recursive(st.just(()), lambda below: st.lists(below, max_size=3), max_leaves=12)

    @given(tree=trees, is_async=st.booleans(), failing=st.integers(-1, 8))
    @settings(max_examples=40)
    def test_any_nesting(self, tree: Any, is_async: bool, failing: int) -> None:
        """Each call that returned has a record of its own, and no other has one."""
        store = Memory()
        numbers = iter(range(100))
        returned: set[str] = set()

        def grown(tree: Any) -> Callable[..., Any]:
            number, below = next(numbers), [grown(each) for each in tree]

            async def awaited(*, data: int) -> int:
                total = 1
                for each in below:
                    total += await each(data=data)
                return ended(total)

            def called(*, data: int) -> int:
                return ended(1 + sum(each(data=data) for each in below))

            def ended(total: int) -> int:
                if number == failing:
                    raise LookupError
                returned.add(f"node_{number}")
                return total

            body = awaited if is_async else called
            body.__qualname__ = f"node_{number}"
            return function(store, body)

        root = grown(tree)
        count = next(numbers)
        for _ in range(2):
            try:
                result = root(data=1)
                result = asyncio.run(result) if is_async else result
            except LookupError:
                result = None
            assert store.names() == returned
            assert set(store.statuses()) <= {"COMPLETED"}
            if result is not None:
                assert result == count


class TestAsync:
    @pytest.mark.anyio
    async def test_the_awaited_result_is_stored(self, store: Memory) -> None:
        calls: list[int] = []

        async def body(*, data: dict[str, int]) -> dict[str, int]:
            calls.append(1)
            await anyio.lowlevel.checkpoint()
            return {"value": data["n"]}

        call = function(store, body)
        assert await call(data={"n": 3}) == {"value": 3}
        assert await call(data={"n": 3}) == {"value": 3}
        assert calls == [1]
        (record,) = store.records.values()
        assert json.loads(record.response_data) == {"value": 3}

    @pytest.mark.anyio
    async def test_the_layer_is_never_used_on_the_loop(self, store: Memory) -> None:
        async def body(*, data: int) -> int:
            return data

        await function(store, body)(data=1)
        await function(store, body)(data=1)
        assert store.threads
        assert threading.get_ident() not in store.threads

    @pytest.mark.anyio
    async def test_the_body_runs_in_the_task_of_its_caller(self, store: Memory) -> None:
        variable = ContextVar("variable", default=0)

        async def body(*, data: int) -> int:
            variable.set(5)
            return threading.get_ident()

        assert await function(store, body)(data=1) == threading.get_ident()
        assert variable.get() == 5

    @pytest.mark.anyio
    async def test_a_failed_call_may_be_made_again(self, store: Memory) -> None:
        outcomes: list[Any] = [ValueError("no"), 5]

        async def body(*, data: int) -> int:
            outcome = outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            assert isinstance(outcome, int)
            return outcome

        call = function(store, body)
        with pytest.raises(ValueError, match="no"):
            await call(data=1)
        assert store.records == {}
        assert await call(data=1) == 5
        assert store.statuses() == ["COMPLETED"]

    @pytest.mark.anyio
    async def test_a_record_that_cannot_be_deleted_is_an_error_of_the_layer(
        self, store: Memory
    ) -> None:
        def fail() -> None:
            raise OSError("gone")

        async def body(*, data: int) -> int:
            raise ValueError("no")

        store.before_delete = fail
        with pytest.raises(IdempotencyPersistenceLayerError, match="delete"):
            await function(store, body)(data=1)

    @pytest.mark.anyio
    async def test_what_cannot_be_stored_is_an_error_of_the_layer(self, store: Memory) -> None:
        async def body(*, data: int) -> object:
            return object()

        with pytest.raises(IdempotencyPersistenceLayerError, match="update"):
            await function(store, body)(data=1)

    @pytest.mark.anyio
    async def test_a_cancelled_call_leaves_no_record(self, store: Memory) -> None:
        async def body(*, data: int) -> None:
            scope.cancel()
            await anyio.sleep_forever()

        with anyio.CancelScope() as scope:
            await function(store, body)(data=1)
        assert scope.cancelled_caught
        assert store.records == {}

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    @pytest.mark.anyio
    async def test_a_cancelled_task_leaves_no_record(self, store: Memory) -> None:
        begun = asyncio.Event()

        async def body(*, data: int) -> None:
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(function(store, body)(data=1))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.records == {}

    @pytest.mark.anyio
    async def test_a_result_that_came_with_the_cancellation_is_stored(self, store: Memory) -> None:
        async def body(*, data: int) -> int:
            scope.cancel()
            return 1

        with anyio.CancelScope() as scope:
            await function(store, body)(data=1)
        assert store.statuses() == ["COMPLETED"]

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    @pytest.mark.parametrize("moment", ["before_put", "after_put"])
    @pytest.mark.anyio
    async def test_cancelled_while_the_record_is_written(self, store: Memory, moment: str) -> None:
        loop = asyncio.get_running_loop()
        writing, go_on, deleted = asyncio.Event(), threading.Event(), threading.Event()

        def in_the_middle() -> None:
            loop.call_soon_threadsafe(writing.set)
            assert go_on.wait(PATIENCE_S)

        setattr(store, moment, in_the_middle)
        store.after_delete = deleted.set

        async def body(*, data: int) -> None:
            raise AssertionError("it was cancelled before")

        task = asyncio.ensure_future(function(store, body)(data=1))
        await writing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        assert await asyncio.to_thread(deleted.wait, 10)
        assert store.records == {}

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    @pytest.mark.anyio
    async def test_cancelled_when_the_record_has_just_been_written(
        self, store: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def called_in_vain(make: Callable[[], object]) -> None:
            make()
            raise asyncio.CancelledError

        async def body(*, data: int) -> None:
            raise AssertionError("it was cancelled before")

        monkeypatch.setattr(ours, "in_thread", called_in_vain)
        with pytest.raises(asyncio.CancelledError):
            await function(store, body)(data=1)
        assert store.records == {}

    @pytest.mark.anyio
    async def test_a_layer_that_hangs_does_not_hold_a_cancelled_call(
        self,
        store: Memory,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        go_on, done = threading.Event(), threading.Event()

        async def body(*, data: int) -> None:
            scope.cancel()
            await anyio.sleep_forever()

        def hang() -> None:
            go_on.wait(PATIENCE_S)
            done.set()

        store.before_delete = hang
        monkeypatch.setattr(ours, "PATIENCE_S", 0.01)
        with anyio.CancelScope() as scope:
            await function(store, body)(data=1)
        assert "was not deleted within" in caplog.text
        go_on.set()
        assert done.wait(PATIENCE_S)

    def test_a_coroutine_thrown_away_leaves_no_record(self, store: Memory) -> None:
        """It cannot wait for the deletion: there is no loop that would go on with it."""
        deleted = threading.Event()
        store.before_delete = deleted.set

        async def body(*, data: int) -> None: ...

        handler = IdempotencyHandler(body, 1, IdempotencyConfig(), store)
        store.save_inprogress(data=1)
        coroutine = ours._let_go(handler, GeneratorExit())
        with pytest.raises(StopIteration):
            coroutine.send(None)
        assert deleted.wait(PATIENCE_S)

    @pytest.mark.anyio
    async def test_payload_validation(self, store: Memory) -> None:
        config = IdempotencyConfig(event_key_jmespath="id", payload_validation_jmespath="amount")

        async def body(*, data: dict[str, int]) -> int:
            return data["amount"]

        call = function(store, body, config=config)
        assert await call(data={"id": 1, "amount": 5}) == 5
        with pytest.raises(IdempotencyValidationError):
            await call(data={"id": 1, "amount": 6})

    @pytest.mark.anyio
    async def test_a_response_hook(self, store: Memory) -> None:
        config = IdempotencyConfig(response_hook=lambda response, record: [response, "again"])

        async def body(*, data: int) -> int:
            return data

        call = function(store, body, config=config)
        assert await call(data=1) == 1
        assert await call(data=1) == [1, "again"]

    @pytest.mark.anyio
    async def test_without_a_key_everybody_runs(self, store: Memory) -> None:
        async def body(*, data: dict[str, int]) -> int:
            return 1

        call = function(store, body, config=IdempotencyConfig(event_key_jmespath="id"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert [await call(data={}), await call(data={})] == [1, 1]
        assert store.records == {}

    @pytest.mark.anyio
    async def test_switched_off(self, store: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("POWERTOOLS_IDEMPOTENCY_DISABLED", "1")

        async def body(*, data: int) -> int:
            return data

        with pytest.warns(UserWarning, match="Disabling idempotency"):
            assert await function(store, body)(data=1) == 1
        assert store.records == {}

    def test_a_partial_of_an_async_function(self, store: Memory) -> None:
        async def body(number: int, *, data: int) -> int:
            return number + data

        bound = functools.wraps(body)(functools.partial(body, 4))
        assert asyncio.run(function(store, bound)(data=1)) == 5

    def test_a_function_that_nobody_knows_to_be_async(self, store: Memory) -> None:
        async def body(*, data: int) -> int:
            if data < 0:
                raise ValueError("no")
            return data

        call = function(store, lambda *, data: body(data=data))
        assert [asyncio.run(call(data=1)), call(data=1)] == [1, 1]
        with pytest.raises(ValueError, match="no"):
            asyncio.run(call(data=-1))
        assert store.statuses() == ["COMPLETED"]

    def test_a_decorated_function_that_runs_its_coroutine_by_itself(self, store: Memory) -> None:
        async def body(*, data: int) -> int:
            return data

        @functools.wraps(body)
        def runs(*, data: int) -> int:
            return asyncio.run(body(data=data))

        assert function(store, runs)(data=1) == 1
        assert store.statuses() == ["COMPLETED"]


class Timed(LambdaContext):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.remaining_ms = (number + 1) * 1_000_000

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


class TestHandlers:
    @pytest.fixture
    def config(self) -> IdempotencyConfig:
        return IdempotencyConfig(event_key_jmespath="id")

    @pytest.fixture(params=[False, True], ids=["ours", "bare"])
    def bare(self, request: pytest.FixtureRequest) -> bool:
        return bool(request.param)

    def test_threads_have_their_own_context(
        self, store: Memory, config: IdempotencyConfig, bare: bool
    ) -> None:
        crowd = ThreadCrowd(bare=bare)

        @idempotency.idempotent(persistence_store=store, config=config)
        def handler(event: dict[str, Any], context: Any) -> Any:
            crowd.meet()
            return config.lambda_context is context

        answers = crowd.serve(lambda number: handler({"id": number}, Timed(number)))
        assert answers == [True] * COUNT
        assert config.lambda_context is None
        assert store.statuses() == ["COMPLETED"] * COUNT

    def test_tasks_have_their_own_context(
        self, store: Memory, config: IdempotencyConfig, bare: bool
    ) -> None:
        crowd = TaskCrowd(bare=bare)

        @idempotency.idempotent(persistence_store=store, config=config)
        async def handler(event: dict[str, Any], context: Any) -> Any:
            await crowd.meet()
            return config.lambda_context is context

        answers = crowd.serve(lambda number: handler({"id": number}, Timed(number)))
        assert answers == [True] * COUNT
        assert config.lambda_context is None
        assert store.statuses() == ["COMPLETED"] * COUNT

    def test_remaining_time_is_the_requests_own(
        self, store: Memory, config: IdempotencyConfig, bare: bool
    ) -> None:
        crowd = ThreadCrowd(bare=bare)
        call = function(store, lambda *, data: None, config=config, key_prefix="call")
        left_ms: dict[int, float] = {}

        def remember(data_record: DataRecord) -> None:
            number = int(threading.current_thread().name)
            left_ms[number] = data_record.in_progress_expiry_timestamp - time.time() * 1000

        store._put_record = remember  # type: ignore[method-assign]

        def handle(number: int) -> None:
            threading.current_thread().name = str(number)
            config.register_lambda_context(Timed(number))
            crowd.meet()
            call(data={"id": number})

        crowd.serve(handle)
        for number in range(COUNT):
            assert abs(left_ms[number] - Timed(number).remaining_ms) < 60_000

    def test_what_an_earlier_request_left_is_not_believed(self) -> None:
        config = IdempotencyConfig(lambda_context=Timed(1))

        def body() -> Any:
            request = request_of(3)
            context.enter(request)
            return config.lambda_context is request.lambda_context

        config.__dict__["lambda_context"] = Timed(1)
        assert Context().run(body)

    def test_a_layer_that_is_used_by_itself_after_a_handler_means_its_call(
        self, store: Memory
    ) -> None:
        """As users' own tests do, where there is no request."""

        @idempotency.idempotent(persistence_store=store)
        def handler(event: dict[str, Any], context: Any) -> Any:
            return event

        assert handler({"id": 1}, Timed(1)) == {"id": 1}
        store.delete_record({"id": 1}, ValueError())
        assert store.records == {}

    def test_failures_leave_no_record(self, store: Memory, config: IdempotencyConfig) -> None:
        @idempotency.idempotent(persistence_store=store, config=config)
        async def handler(event: dict[str, Any], context: Any) -> Any:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            asyncio.run(handler({"id": 1}, Timed(1)))
        assert store.records == {}

    def test_nested_in_a_handler(self, store: Memory, config: IdempotencyConfig) -> None:
        async def body(*, data: dict[str, int]) -> int:
            return data["id"]

        inner = function(store, body, config=config)

        @idempotency.idempotent(persistence_store=store, config=config)
        async def handler(event: dict[str, Any], context: Any) -> Any:
            return {"inner": await inner(data=event)}

        crowd = TaskCrowd()
        answers = crowd.serve(lambda number: handler({"id": number}, Timed(number)))
        assert answers == [{"inner": number} for number in range(COUNT)]
        assert store.statuses() == ["COMPLETED"] * 2 * COUNT

    def test_a_decorator_taken_before_it_was_made_safe(self, store: Memory) -> None:
        @idempotency.idempotent.__wrapped__(persistence_store=store)
        async def handler(event: dict[str, Any], context: Any) -> Any:
            return event

        assert asyncio.run(handler({"id": 1}, Timed(1))) == {"id": 1}
        assert store.statuses() == ["COMPLETED"]

    def test_only_functions_with_options_by_name(self, store: Memory) -> None:
        with pytest.raises(Exception, match="Only keyword arguments"):
            idempotency.idempotent(store)


class TestLocalCache:
    @pytest.fixture(autouse=True)
    def _often(self) -> Iterator[None]:
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        yield
        sys.setswitchinterval(before)

    def test_threads_that_push_each_other_out(self, store: Memory) -> None:
        config = IdempotencyConfig(use_local_cache=True, local_cache_max_items=2)
        call = function(store, lambda *, data: data, config=config)
        crowd = ThreadCrowd()

        def handle(number: int) -> None:
            crowd.meet()
            for round_ in range(10):
                key = {"key": (number + round_) % 5, "round": round_ % 2}
                with suppress(IdempotencyAlreadyInProgressError):
                    assert call(data=key) == key

        crowd.serve(handle)
        assert len(store._cache) <= 2

    def test_an_expired_record_is_dropped_once(self, store: Memory) -> None:
        config = IdempotencyConfig(use_local_cache=True)
        store.configure(config, "f")
        crowd = ThreadCrowd()

        def handle(number: int) -> None:
            for _ in range(20):
                store._cache["key"] = DataRecord("key", status="COMPLETED", expiry_timestamp=1)
                assert store._retrieve_from_cache("key") is None

        crowd.serve(handle)

    def test_an_entry_is_not_pushed_out_while_it_is_read(self, store: Memory) -> None:
        store.configure(IdempotencyConfig(use_local_cache=True, local_cache_max_items=1), "f")
        cache = store._cache

        class Read:
            def __bool__(self) -> bool:
                """The cache asks this between its two steps."""
                other.start()
                other.join(0.05)
                return True

        other = threading.Thread(target=cache.__setitem__, args=("other", "record"))
        entry = cache["key"] = Read()
        assert cache.get("key") is entry
        other.join(PATIENCE_S)
        assert dict(cache) == {"other": "record"}
