"""Circuit breakers around functions that are awaited, and who tries again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

pytest.importorskip("aws_lambda_powertools.utilities.circuit_breaker")

from aws_lambda_powertools.utilities.circuit_breaker import (
    CircuitBreakerConfig,
    CircuitBreakerOpenError,
    CircuitState,
    base,
    circuit_breaker,
)
from aws_lambda_powertools.utilities.circuit_breaker.persistence.base import (
    CircuitBreakerExistingLockError,
    CircuitBreakerPersistenceLayer,
)
from aws_lambda_powertools.utilities.circuit_breaker.persistence.record import CircuitStateRecord

from lmi_runtime.integrations import make_safe
from lmi_runtime.integrations.powertools import circuit_breaker as ours
from tests.support.crowd import COUNT, TaskCrowd, ThreadCrowd
from tests.support.patience import PATIENCE_S


@pytest.fixture(autouse=True, scope="module")
def _safe() -> None:
    make_safe()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    for each in (base._LOCAL_FAILURES, base._LOCAL_SUCCESSES, base._LAST_OBSERVED_STATE):
        each.clear()


class Memory(CircuitBreakerPersistenceLayer):  # type: ignore[misc]
    """Keeps records as a table would."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.record: CircuitStateRecord | None = None
        self.writes: list[str] = []
        self.threads: set[int] = set()

    def _get_record(self, name: str) -> CircuitStateRecord | None:
        self.threads.add(threading.get_ident())
        return self.record

    def _put_record(
        self,
        record: CircuitStateRecord,
        condition: str | None = None,
        expected_opened_at: int | None = None,
    ) -> None:
        self.threads.add(threading.get_ident())
        with self.lock:
            is_open = self.record is not None and self.record.state == CircuitState.OPEN
            if condition == "half_open" and not is_open:
                raise CircuitBreakerExistingLockError
            self.record = record
            self.writes.append(str(record.state))

    def _update_record(self, record: CircuitStateRecord) -> None:
        self._put_record(record)


@pytest.fixture
def store() -> Memory:
    return Memory()


def breaker(store: Memory, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    config = CircuitBreakerConfig(
        failure_threshold=options.pop("failures", 3),
        success_threshold=options.pop("successes", 2),
        recovery_timeout=30,
        local_cache_max_age=options.pop("cached_s", 1000),
    )
    decorate = circuit_breaker("service", persistence_store=store, config=config, **options)
    made: Callable[..., Any] = decorate(function)
    return made


def opened(store: Memory) -> None:
    """Long ago: it is time to try again."""
    store.record = CircuitStateRecord(name="service", state=CircuitState.OPEN, opened_at=1)


async def failing() -> None:
    raise OSError("down")


async def working() -> str:
    return "up"


class TestAsync:
    @pytest.mark.anyio
    async def test_failures_count(self, store: Memory) -> None:
        call = breaker(store, failing)
        for _ in range(3):
            with pytest.raises(OSError, match="down"):
                await call()
        with pytest.raises(CircuitBreakerOpenError):
            await call()
        assert store.writes == ["OPEN"]

    @pytest.mark.anyio
    async def test_a_success_ends_a_row_of_failures(self, store: Memory) -> None:
        outcomes = [OSError(), OSError(), None, OSError(), OSError(), None]

        async def function() -> None:
            outcome = outcomes.pop(0)
            if outcome is not None:
                raise outcome

        call = breaker(store, function)
        while outcomes:
            try:
                await call()
            except OSError:
                continue
        assert store.writes == []

    @pytest.mark.anyio
    async def test_time_outs_of_the_function_count(self, store: Memory) -> None:
        async def function() -> None:
            with anyio.fail_after(0):
                await anyio.sleep_forever()

        call = breaker(store, function, failures=1)
        with pytest.raises(TimeoutError):
            await call()
        assert store.writes == ["OPEN"]

    @pytest.mark.anyio
    async def test_a_cancelled_call_is_neither(self, store: Memory) -> None:
        async def function() -> None:
            if scopes:
                scopes.pop().cancel()
                await anyio.sleep_forever()
            raise OSError("down")

        scopes: list[anyio.CancelScope] = []
        call = breaker(store, function, failures=2)
        with pytest.raises(OSError, match="down"):
            await call()
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await call()
        assert (base._LOCAL_FAILURES["service"], store.writes) == (1, [])
        with pytest.raises(OSError, match="down"):
            await call()
        assert store.writes == ["OPEN"]

    @pytest.mark.anyio
    async def test_a_failure_that_comes_with_a_cancellation_is_recorded(
        self, store: Memory
    ) -> None:
        async def function() -> None:
            scope.cancel()
            raise OSError("down")

        with anyio.CancelScope() as scope:
            with pytest.raises(OSError, match="down"):
                await breaker(store, function, failures=1)()
        assert store.writes == ["OPEN"]

    @pytest.mark.anyio
    async def test_the_store_is_never_used_on_the_loop(self, store: Memory) -> None:
        for function in (working, failing):
            call = breaker(store, function, failures=1, cached_s=0)
            with suppress(OSError):
                await call()
        opened(store)
        assert await breaker(store, working, successes=1)() == "up"
        assert store.writes == ["OPEN", "HALF_OPEN", "CLOSED"]
        assert store.threads
        assert threading.get_ident() not in store.threads

    @pytest.mark.anyio
    async def test_a_healthy_call_needs_no_thread(
        self, store: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def no_threads(*args: Any, **kwargs: Any) -> Any:
            raise AssertionError

        call = breaker(store, working)
        assert await call() == "up"
        monkeypatch.setattr(ours, "in_thread", no_threads)
        assert await call() == "up"

    @pytest.mark.anyio
    @pytest.mark.parametrize("is_async", [False, True])
    async def test_what_to_do_instead(self, store: Memory, is_async: bool) -> None:
        def buffer(item: str, *, circuit: Any) -> Any:
            return [item, circuit.name, str(circuit.state)]

        async def buffer_it(item: str, *, circuit: Any) -> Any:
            return buffer(item, circuit=circuit)

        async def function(item: str) -> None:
            raise OSError("down")

        call = breaker(
            store, function, failures=1, on_circuit_open=buffer_it if is_async else buffer
        )
        with pytest.raises(OSError, match="down"):
            await call("one")
        assert await call("two") == ["two", "service", "OPEN"]

    def test_a_function_that_nobody_knows_to_be_async(self, store: Memory) -> None:
        call = breaker(store, lambda: failing(), failures=1)
        with pytest.raises(OSError, match="down"):
            asyncio.run(call())
        assert store.writes == ["OPEN"]

    def test_fifty_tasks_that_fail(self, store: Memory) -> None:
        crowd = TaskCrowd()

        async def function() -> None:
            await crowd.meet()
            raise OSError("down")

        call = breaker(store, function, failures=COUNT)

        async def handle(number: int) -> Any:
            try:
                return await call()
            except OSError:
                return "failed"

        assert crowd.serve(handle) == ["failed"] * COUNT
        assert store.writes == ["OPEN"]


class TestTrying:
    def test_one_task_at_a_time(self, store: Memory) -> None:
        crowd = TaskCrowd()
        opened(store)
        tries: list[int] = []

        async def function(number: int) -> str:
            tries.append(number)
            await crowd.meet()
            return "up"

        call = breaker(store, function)

        async def handle(number: int) -> Any:
            try:
                return await call(number)
            except CircuitBreakerOpenError:
                await crowd.meet()
                return "open"

        answers = crowd.serve(handle)
        assert len(tries) == 1
        assert sorted(answers) == ["open"] * (COUNT - 1) + ["up"]
        assert store.record is not None
        assert store.record.state == CircuitState.HALF_OPEN

    def test_one_thread_at_a_time(self, store: Memory) -> None:
        crowd = ThreadCrowd()
        opened(store)
        tries: list[int] = []

        def function(number: int) -> str:
            tries.append(number)
            crowd.meet()
            return "up"

        call = breaker(store, function)

        def handle(number: int) -> Any:
            try:
                return call(number)
            except CircuitBreakerOpenError:
                crowd.meet()
                return "open"

        answers = crowd.serve(handle)
        assert len(tries) == 1
        assert sorted(answers) == ["open"] * (COUNT - 1) + ["up"]

    def test_tries_of_several_requests_close_it(self, store: Memory) -> None:
        """Each in a thread that ends with its request."""
        opened(store)
        call = breaker(store, lambda: "up", successes=3)
        answers: list[str] = []
        for _ in range(4):
            thread = threading.Thread(target=lambda: answers.append(call()))
            thread.start()
            thread.join(PATIENCE_S)
        assert answers == ["up"] * 4
        assert store.writes == ["HALF_OPEN", "CLOSED"]

    @pytest.mark.anyio
    async def test_a_cancelled_try_leaves_it_to_the_next(self, store: Memory) -> None:
        opened(store)

        async def function() -> str:
            if scope.cancel_called:
                return "up"
            scope.cancel()
            await anyio.sleep_forever()
            raise AssertionError

        call = breaker(store, function, successes=1)
        with anyio.CancelScope() as scope:
            await call()
        assert store.writes == ["HALF_OPEN"]
        assert await call() == "up"
        assert store.writes == ["HALF_OPEN", "CLOSED"]

    @pytest.mark.anyio
    async def test_a_failed_try(self, store: Memory) -> None:
        opened(store)
        call = breaker(store, failing)
        with pytest.raises(OSError, match="down"):
            await call()
        assert store.writes == ["HALF_OPEN", "OPEN"]
        with pytest.raises(CircuitBreakerOpenError):
            await call()

    def test_another_process_that_tries_is_respected(self, store: Memory) -> None:
        store.record = CircuitStateRecord(
            name="service",
            state=CircuitState.HALF_OPEN,
            half_open_owner="another",
            probe_lease_expiry=1 << 40,
        )
        with pytest.raises(CircuitBreakerOpenError):
            breaker(store, lambda: "up")()
        with pytest.raises(CircuitBreakerOpenError):
            asyncio.run(breaker(store, working)())

    def test_a_fork_is_another_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mine = base._probe_owner_id()
        assert base._probe_owner_id() == mine
        monkeypatch.setattr("os.getpid", lambda: -1)
        assert base._probe_owner_id() != mine
