"""A pool as threads use it, and what it does about time, failures, leaks and its own end."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import queue
import threading
from collections.abc import Callable, Iterator
from contextvars import Context
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import trio

from lmi_runtime import _sync
from lmi_runtime.context import Request, enter
from lmi_runtime.errors import (
    ConfigurationError,
    PoolClosed,
    PoolOverloaded,
    PoolTimeout,
    WrongKindOfCaller,
)
from lmi_runtime.model import Invocation
from lmi_runtime.pools import lease as lease_module
from lmi_runtime.pools import registry
from lmi_runtime.pools.keeper import Keeper, keeper
from lmi_runtime.pools.model import Permit
from lmi_runtime.pools.pool import Pool
from tests.support.connections import Connection, Server
from tests.support.patience import PATIENCE_S

MakePool = Callable[..., Pool[Connection]]


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_sync, "monotonic", clock)
    monkeypatch.setattr(_sync, "wall_time", lambda: clock() + 5e8)
    monkeypatch.setattr(lease_module, "_now", clock)
    return clock


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def make_pool(server: Server) -> Iterator[MakePool]:
    pools = []

    def make(connector: Any = None, **options: Any) -> Pool[Connection]:
        options.setdefault("housekeeping", False)
        options.setdefault("max_size", 1)
        pools.append(Pool(connector or server.for_threads(), **options))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close(0)
    keeper().forget()  # or the next test would hear of them


class Parked:
    """Knows when threads have begun to wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._parked: queue.SimpleQueue[None] = queue.SimpleQueue()
        parked = self._parked

        class Parker(_sync.ThreadParker):
            def park(self, timeout_s: float | None = None) -> bool:
                parked.put(None)
                return super().park(timeout_s)

        monkeypatch.setattr(_sync, "ThreadParker", Parker)

    def wait(self) -> None:
        self._parked.get(timeout=PATIENCE_S)


@pytest.fixture
def parked(monkeypatch: pytest.MonkeyPatch) -> Parked:
    return Parked(monkeypatch)


class InThread:
    """A call in a thread; `result` waits for what came of it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._outcome: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._function = function
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._outcome.put((self._function(), None))
        except BaseException as error:
            self._outcome.put((None, error))

    def result(self) -> Any:
        value, error = self._outcome.get(timeout=PATIENCE_S)
        if error is not None:
            raise error
        return value


def tend(pool: Pool[Any], now_s: float | None = None) -> float | None:
    return pool._engine.attendant.tend(_sync.monotonic() if now_s is None else now_s)


# -------------------------------------------------------------------- borrowing


def test_a_connection_is_opened_once_and_lent_again(make_pool: MakePool, server: Server) -> None:
    pool = make_pool()

    for _ in range(3):
        with pool.lease() as connection, connection.used():
            assert connection.number == 1

    facts = pool.statistics()
    assert (facts.leases, facts.leases_direct, facts.opened, facts.idle) == (3, 2, 1, 1)
    assert len(server.connections) == 1


def test_the_one_used_last_is_lent_next(make_pool: MakePool) -> None:
    pool = make_pool(max_size=2)
    first, second = pool.lease(), pool.lease()
    first.acquire()
    latest = second.acquire()
    first.release()
    second.release()

    with pool.lease() as connection:
        assert connection is latest


def test_whoever_came_first_is_served_first(make_pool: MakePool, parked: Parked) -> None:
    pool = make_pool()
    order: list[int] = []

    def borrow(number: int) -> None:
        with pool.lease() as connection, connection.used():
            order.append(number)

    lease = pool.lease()
    lease.acquire()
    parked.wait()  # for the opening
    threads = []
    for number in range(8):
        threads.append(InThread(lambda number=number: borrow(number)))
        parked.wait()
    lease.release()
    for thread in threads:
        thread.result()

    assert order == list(range(8))


def test_a_lease_has_one_connection_at_a_time(make_pool: MakePool) -> None:
    lease = make_pool(max_size=2).lease()
    lease.acquire()

    with pytest.raises(RuntimeError, match="already"):
        lease.acquire()

    lease.release()
    lease.release()  # nothing happens
    assert lease.acquire().number == 1


def test_a_wait_is_over_when_its_time_is(make_pool: MakePool) -> None:
    pool = make_pool()
    with pool.lease(), pytest.raises(PoolTimeout, match="1 of 1 are lent"):
        pool.lease(timeout_s=0).acquire()

    with pool.lease(timeout_s=0) as connection:
        assert connection.number == 1
    assert pool.statistics().timeouts == 1


def test_a_wait_may_be_endless(make_pool: MakePool, parked: Parked) -> None:
    pool = make_pool()
    lease = pool.lease()
    lease.acquire()
    parked.wait()
    endless = InThread(lambda: pool.lease(timeout_s=math.inf).acquire().number)
    parked.wait()

    lease.release()

    assert endless.result() == 1


def test_nobody_waits_past_the_deadline_of_the_request(make_pool: MakePool, clock: Clock) -> None:
    pool = make_pool()
    request = Request(Invocation(request_id="r1", deadline_s=clock() - 1.0))

    def serve() -> None:
        enter(request)
        pool.lease(timeout_s=1000.0).acquire()

    with pool.lease(), pytest.raises(PoolTimeout):
        Context().run(serve)


def test_what_outlives_its_request_has_no_deadline_of_it(make_pool: MakePool, clock: Clock) -> None:
    pool = make_pool()
    request = Request(Invocation(request_id="r1", deadline_s=clock() - 1.0))

    def outlive() -> int:
        enter(request)
        request.end()
        with pool.lease() as connection:
            return connection.number

    assert Context().run(outlive) == 1


class HandsOver(_sync.ThreadParker):
    """Wakes by itself at a moment the test has chosen, as if time were up."""

    before: ClassVar[list[Callable[[], Any]]] = []

    def park(self, timeout_s: float | None = None) -> bool:
        if self.before:
            self.before.pop()()
            return False
        return super().park(timeout_s)


@pytest.fixture
def woken_by_time(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], Any]]:
    HandsOver.before = []
    monkeypatch.setattr(_sync, "ThreadParker", HandsOver)
    return HandsOver.before


def test_a_hand_off_while_the_time_out_fires_is_not_lost(
    make_pool: MakePool, clock: Clock, woken_by_time: list[Callable[[], Any]]
) -> None:
    pool = make_pool(timeout_s=5.0)
    holder = pool.lease()
    holder.acquire()

    def returned_just_before() -> None:
        holder.release()
        clock.advance(6.0)

    woken_by_time.append(returned_just_before)

    with pool.lease() as connection:
        assert connection.number == 1


def test_a_hand_off_after_the_time_out_finds_the_next(
    make_pool: MakePool, clock: Clock, woken_by_time: list[Callable[[], Any]]
) -> None:
    pool = make_pool(timeout_s=5.0, check=None)
    holder = pool.lease()
    holder.acquire()

    def returned_too_late() -> None:
        clock.advance(6.0)
        holder.release()

    woken_by_time.append(returned_too_late)

    with pytest.raises(PoolTimeout):
        pool.lease().acquire()
    with pool.lease() as connection:
        assert connection.number == 1


def test_an_interrupted_wait_passes_its_connection_on(
    make_pool: MakePool, woken_by_time: list[Callable[[], Any]]
) -> None:
    pool = make_pool()
    holder = pool.lease()
    holder.acquire()

    def interrupted() -> None:
        holder.release()
        raise KeyboardInterrupt

    woken_by_time.append(interrupted)

    with pytest.raises(KeyboardInterrupt):
        pool.lease().acquire()

    assert pool.statistics().cancelled == 1
    with pool.lease(timeout_s=0) as connection:
        assert connection.number == 1


def test_more_than_may_wait_are_refused(make_pool: MakePool, parked: Parked) -> None:
    pool = make_pool(max_waiting=1)
    holder = pool.lease()
    holder.acquire()
    parked.wait()
    waiting = InThread(lambda: pool.lease().acquire())
    parked.wait()

    with pytest.raises(PoolOverloaded, match="No more than 1 requests may wait"):
        pool.lease().acquire()

    holder.release()
    assert waiting.result().number == 1
    assert pool.statistics().refused == 1


def test_a_cold_burst_opens_side_by_side(make_pool: MakePool, server: Server) -> None:
    together = threading.Barrier(4, timeout=PATIENCE_S)
    server.on_open = together.wait
    pool = make_pool(max_size=4)
    threads = [InThread(lambda: pool.lease().acquire()) for _ in range(4)]

    assert len({thread.result() for thread in threads}) == 4


# --------------------------------------------------------------------- failures


def test_what_opening_raises_is_the_answer_to_all_who_wait(
    make_pool: MakePool, server: Server, parked: Parked
) -> None:
    opens = threading.Event()
    server.on_open = lambda: opens.wait(PATIENCE_S)
    server.failures = [OSError("refused")]
    pool = make_pool()
    waiting = [InThread(lambda: pool.lease().acquire()) for _ in range(3)]
    for _ in waiting:
        parked.wait()
    pool_state = pool._engine.state
    with pool_state.lock:
        for waiter in pool_state.only.line:  # type: ignore[union-attr]
            waiter.arrived_s = 0.0  # all of them had come when the attempt began

    opens.set()

    for thread in waiting:
        with pytest.raises(OSError, match="refused"):
            thread.result()
    with pool.lease() as connection:
        assert connection.number == 1
    assert pool.statistics().open_failures == 1


def test_a_time_out_says_why_nothing_opens(
    make_pool: MakePool, server: Server, parked: Parked
) -> None:
    pool = make_pool(max_size=2)
    with pool.lease():
        failed = OSError("refused")
        server.failures = [failed] * 1000
        with pytest.raises(PoolTimeout) as raised:
            pool.lease(timeout_s=0.2).acquire()

    assert raised.value.__cause__ is failed


def test_without_a_thread_to_open_in_whoever_waits_hears_of_it(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()

    def spawn(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as only_here:
        only_here.setattr(_sync, "spawn", spawn)
        with pytest.raises(RuntimeError, match="new thread"):
            pool.lease().acquire()

    with pool.lease() as connection:
        assert connection.number == 1


def test_without_a_thread_to_open_in_others_connections_are_waited_for(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to try again and again, and never to get as far as waiting."""
    pool = make_pool(max_size=2)
    tries: list[None] = []

    def spawn(*_: Any, **__: Any) -> None:
        tries.append(None)
        assert len(tries) < 100
        raise RuntimeError("can't start new thread")

    with pool.lease():
        monkeypatch.setattr(_sync, "spawn", spawn)
        with pytest.raises(PoolTimeout):
            pool.lease(timeout_s=0.01).acquire()
    monkeypatch.undo()
    assert len(tries) == 1


def test_a_keeper_without_a_thread_starts_one_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper()
    tended: queue.SimpleQueue[float] = queue.SimpleQueue()

    class Patient:
        def tend(self, now_s: float) -> float | None:
            tended.put(now_s)
            return None

    def spawn(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    patient = Patient()
    with monkeypatch.context() as only_here:
        only_here.setattr(_sync, "spawn", spawn)
        keeper.watch(patient)

    keeper.watch(patient)

    tended.get(timeout=PATIENCE_S)


def test_a_keeper_survives_a_pool_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    keeper = Keeper()
    tended: queue.SimpleQueue[float] = queue.SimpleQueue()

    class Sick:
        def tend(self, now_s: float) -> float | None:
            raise OSError("too many open files")

    class Patient:
        def tend(self, now_s: float) -> float | None:
            tended.put(now_s)
            return 10.0

    sick, patient = Sick(), Patient()
    keeper.watch(sick)
    keeper.watch(patient)
    tended.get(timeout=PATIENCE_S)
    keeper.poke()

    tended.get(timeout=PATIENCE_S)
    assert "too many open files" in caplog.text


# ------------------------------------------------------- what comes back, and how


def test_a_connection_is_reset_before_others_get_it(make_pool: MakePool, server: Server) -> None:
    pool = make_pool(server.for_threads(reset=True))
    with pool.lease():
        pass

    assert server.log == ["reset 1"]
    assert pool.statistics().idle == 1


def test_one_that_cannot_be_reset_is_closed(make_pool: MakePool, server: Server) -> None:
    pool = make_pool(server.for_threads(reset=True))
    with pool.lease() as connection:
        connection.broken = True

    assert server.said_goodbye() is connection
    assert pool.statistics().closed_broken == 1
    with pool.lease() as another:
        assert another.number == 2


def test_one_whose_reset_takes_too_long_is_closed(make_pool: MakePool, server: Server) -> None:
    late = threading.Event()
    server.on_reset = lambda: late.wait(PATIENCE_S)
    pool = make_pool(server.for_threads(reset=True), io_timeout_s=0.01)
    with pool.lease() as connection:
        pass
    late.set()

    assert server.said_goodbye() is connection


def test_one_that_says_so_itself_is_closed(make_pool: MakePool, server: Server) -> None:
    pool = make_pool()
    with pool.lease() as connection:
        connection.unusable = True

    # Plain connections come back without being asked only if nothing can be asked.
    assert server.said_goodbye() is connection


def test_what_asks_whether_to_reset_may_fail(make_pool: MakePool, server: Server) -> None:
    def needs_reset(_: Connection) -> bool:
        raise OSError("what?")

    connector = replace(server.for_threads(reset=True), needs_reset=needs_reset)
    pool = make_pool(connector)
    with pool.lease():
        pass

    assert server.log == ["reset 1"]
    assert pool.statistics().idle == 1


def test_an_error_in_the_block_leaves_the_connection_good(make_pool: MakePool) -> None:
    pool = make_pool()
    with pytest.raises(KeyError), pool.lease():
        raise KeyError

    assert pool.statistics().idle == 1


def test_an_interrupted_block_costs_the_connection(make_pool: MakePool, server: Server) -> None:
    pool = make_pool()
    with pytest.raises(KeyboardInterrupt), pool.lease():
        raise KeyboardInterrupt

    assert server.said_goodbye().number == 1


def test_an_interrupted_block_may_cost_a_reset_only(make_pool: MakePool, server: Server) -> None:
    pool = make_pool(server.for_threads(reset=True), reset_after_cancel=True)
    with pytest.raises(KeyboardInterrupt), pool.lease():
        raise KeyboardInterrupt

    assert server.log == ["reset 1"]
    assert pool.statistics().idle == 1


def test_what_is_discarded_is_closed(make_pool: MakePool, server: Server) -> None:
    lease = make_pool().lease()
    connection = lease.acquire()

    lease.discard()
    lease.release()

    assert server.said_goodbye() is connection


# ------------------------------------------------------------------ looking first


def test_a_moment_ago_is_good_enough(make_pool: MakePool, server: Server, clock: Clock) -> None:
    pool = make_pool(server.for_threads(check=True), bypass_check_s=0.5)
    with pool.lease():
        pass
    clock.advance(0.4)
    with pool.lease():
        pass
    assert server.log == []

    clock.advance(0.6)
    with pool.lease():
        pass

    assert server.log == ["check 1"]


def test_a_dead_one_is_replaced_unnoticed(
    make_pool: MakePool, server: Server, clock: Clock
) -> None:
    pool = make_pool(server.for_threads(check=True))
    with pool.lease() as connection:
        connection.broken = True
    clock.advance(1.0)

    with pool.lease() as another:
        assert another.number == 2
    assert server.said_goodbye() is connection


def test_a_request_in_a_hurry_condemns_no_connection(
    make_pool: MakePool, server: Server, clock: Clock
) -> None:
    pool = make_pool(server.for_threads(check=True))
    with pool.lease():
        pass
    clock.advance(1.0)
    server.on_check = lambda: _sync.sleep(0.005)

    with pool.lease(timeout_s=0) as connection:
        assert connection.number == 1


def test_an_interrupted_look_loses_no_room(
    make_pool: MakePool, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(server.for_threads(check=True))
    with pool.lease():
        pass
    clock.advance(1.0)

    def bounded(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as only_here:
        only_here.setattr(_sync, "bounded", bounded)
        with pytest.raises(KeyboardInterrupt):
            pool.lease().acquire()

    with pool.lease() as connection:
        assert connection.number == 2


def test_an_old_one_is_replaced(make_pool: MakePool, server: Server, clock: Clock) -> None:
    pool = make_pool(max_lifetime_s=10.0)
    with pool.lease():
        pass
    clock.advance(10.0)

    with pool.lease() as connection:
        assert connection.number == 2
    assert pool.statistics().closed_expired == 1


def test_an_old_one_is_closed_when_it_comes_back(
    make_pool: MakePool, server: Server, clock: Clock
) -> None:
    pool = make_pool(max_lifetime_s=10.0)
    with pool.lease():
        clock.advance(10.0)

    assert server.said_goodbye().number == 1


def test_what_nobody_uses_is_closed_down_to_nothing(
    make_pool: MakePool, server: Server, clock: Clock
) -> None:
    pool = make_pool(max_idle_s=5.0)
    with pool.lease():
        pass
    clock.advance(4.9)
    tend(pool)
    assert pool.statistics().idle == 1

    clock.advance(0.2)
    tend(pool)

    server.said_goodbye()
    assert pool.statistics().closed_idle == 1
    assert pool.statistics().open == 0


def test_the_least_is_kept_open(make_pool: MakePool, server: Server, clock: Clock) -> None:
    opened: queue.SimpleQueue[None] = queue.SimpleQueue()
    server.on_open = lambda: opened.put(None)
    pool = make_pool(max_size=3, min_size=2)
    with pool.lease():
        pass
    opened.get(timeout=PATIENCE_S)

    tend(pool)

    opened.get(timeout=PATIENCE_S)
    assert opened.empty()


def test_when_the_clocks_part_all_are_looked_at(
    make_pool: MakePool, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(server.for_threads(check=True), max_size=2)
    lent = pool.lease()
    lent.acquire()
    with pool.lease():
        pass
    monkeypatch.setattr(_sync, "wall_time", lambda: clock() + 6e8)

    tend(pool)

    lent.release()
    for _ in range(2):
        with pool.lease(), pool.lease():
            pass
    assert sorted(server.log) == ["check 1", "check 2"]


def test_a_leap_without_a_way_to_look_costs_the_connections(
    make_pool: MakePool, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()
    with pool.lease():
        pass
    monkeypatch.setattr(_sync, "wall_time", lambda: clock() + 6e8)
    tend(pool)

    with pool.lease() as connection:
        assert connection.number == 2


# ------------------------------------------------------------------------- leaks


def test_a_lease_that_was_dropped_is_told_of_and_replaced(
    make_pool: MakePool, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool()

    def careless() -> None:
        enter(Request(Invocation(request_id="req-42")))
        pool.lease().acquire()

    Context().run(careless)
    gc.collect()
    tend(pool)

    assert server.said_goodbye().number == 1
    assert pool.statistics().leaks == 1
    assert "req-42" in caplog.text
    assert "careless" in caplog.text


def test_a_lease_that_lasts_too_long_is_told_of_once(
    make_pool: MakePool, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(leak_after_s=60.0)

    def slow() -> None:
        enter(Request(Invocation(request_id="req-43")))
        with pool.lease():
            clock.advance(61.0)
            tend(pool)
            tend(pool)

    Context().run(slow)

    assert pool.statistics().leaks == 1
    assert "req-43" in caplog.text
    assert "slow" in caplog.text


def test_what_is_looked_at_after_a_long_rest_is_no_leak(
    make_pool: MakePool, server: Server, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(server.for_threads(check=True), leak_after_s=60.0, max_idle_s=None)
    with pool.lease():
        pass
    clock.advance(100.0)
    server.on_check = lambda: tend(pool)

    with pool.lease():
        pass

    assert pool.statistics().leaks == 0
    assert caplog.text == ""


def test_a_finalizer_in_the_middle_of_a_step_gives_its_connection_back_later(
    make_pool: MakePool,
) -> None:
    """Python may collect garbage wherever it likes, under the pool's own lock, too."""
    pool = make_pool()
    for give in ("release", "interrupted"):
        lease = pool.lease()
        lease.acquire()
        with pool._engine.state.lock:
            if give == "release":
                lease.release()
            else:
                lease.__exit__(GeneratorExit, GeneratorExit(), None)
            assert pool._engine.state.only is not None
            assert not pool._engine.state.only.idle, "the step found the state changed under it"

        tend(pool)

        with pool.lease(timeout_s=5):
            pass


def test_a_finalizer_gives_back_what_a_thread_waits_for(
    make_pool: MakePool, parked: Parked
) -> None:
    pool = make_pool(housekeeping=True)
    lease = pool.lease()
    lease.acquire()
    parked.wait()
    waiting = InThread(lambda: pool.lease().acquire().number)
    parked.wait()

    with pool._engine.state.lock:
        lease.release()

    assert waiting.result() == 1


# ------------------------------------------------------------- resizing and ending


def test_shrinking_closes_what_is_too_much(make_pool: MakePool, server: Server) -> None:
    pool = make_pool(max_size=3)
    leases = [pool.lease() for _ in range(3)]
    for lease in leases:
        lease.acquire()
    leases[0].release()

    pool.resize(max_size=1)

    server.said_goodbye()
    leases[1].release()
    server.said_goodbye()
    leases[2].release()
    assert pool.statistics().idle == 1


def test_limits_that_cannot_be_kept_change_nothing(make_pool: MakePool) -> None:
    pool = make_pool(max_size=3)

    with pytest.raises(ConfigurationError):
        pool.resize(min_size=4)

    assert (pool.options.min_size, pool.options.max_size) == (0, 3)


def test_growing_helps_those_who_wait(make_pool: MakePool, parked: Parked) -> None:
    pool = make_pool()
    with pool.lease():
        parked.wait()
        waiting = InThread(lambda: pool.lease().acquire().number)
        parked.wait()

        pool.resize(max_size=2)

        assert waiting.result() == 2


def test_draining_replaces_all_and_goes_on_lending(make_pool: MakePool, server: Server) -> None:
    pool = make_pool(max_size=2)
    lent = pool.lease()
    lent.acquire()
    with pool.lease():
        pass

    pool.drain()

    assert server.said_goodbye().number == 2
    lent.release()
    assert server.said_goodbye().number == 1
    with pool.lease() as connection:
        assert connection.number == 3


def test_close_waits_for_the_last_goodbye(make_pool: MakePool, server: Server) -> None:
    pool = make_pool(max_size=2)
    with pool.lease(), pool.lease():
        pass

    pool.close(10.0)

    assert all(connection.closed for connection in server.connections)
    assert pool.statistics().open == 0
    with pytest.raises(PoolClosed):
        pool.lease().acquire()
    pool.close()


def test_close_waits_for_what_is_lent(make_pool: MakePool, server: Server, parked: Parked) -> None:
    pool = make_pool()
    lease = pool.lease()
    lease.acquire()
    parked.wait()
    closing = InThread(lambda: pool.close(10.0))
    parked.wait()

    lease.release()

    closing.result()
    assert server.connections[0].closed


def test_close_names_what_is_still_lent(
    make_pool: MakePool, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool()
    with pool.lease():
        pool.close(0)
        assert "was closed while a connection was lent" in caplog.text
        assert "test_close_names" in caplog.text

    server.said_goodbye()


def test_close_answers_those_who_wait(make_pool: MakePool, parked: Parked) -> None:
    pool = make_pool()
    with pool.lease():
        parked.wait()
        waiting = InThread(lambda: pool.lease().acquire())
        parked.wait()
        pool.close(0)

        with pytest.raises(PoolClosed):
            waiting.result()


def test_whoever_was_opened_with_a_pool_is_closed_before_it(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the pool opens another connection later."""

    class Later:
        name = "later"
        home = None

        def close_now(self, budget_s: float) -> None:
            """Is not called here."""

    pool = make_pool(max_size=2)
    lease = pool.lease()
    lease.acquire()
    later = Later()
    registry.register(later)
    try:
        with pool.lease():
            assert registry._take_latest() is later
    finally:
        registry.forget(later)


def test_what_never_opens_is_taken_for_no_longer_wanted(
    make_pool: MakePool, server: Server
) -> None:
    """A budget is asked by nobody once the one who waited has left."""
    asked: queue.SimpleQueue[bool] = queue.SimpleQueue()

    class Exhausted:
        def try_acquire(self) -> Permit | None:
            return None

        def acquire(self, give_up: Callable[[], bool], owner: object = None) -> Permit | None:
            while not give_up():
                _sync.sleep(0.001)
            asked.put(True)
            return None

        def others_wait(self, owner: object = None) -> bool:
            return False

    pool = make_pool(budget=Exhausted())

    with pytest.raises(PoolTimeout):
        pool.lease(timeout_s=0.01).acquire()

    assert asked.get(timeout=PATIENCE_S)
    assert server.connections == []


class Permits:
    """Counts those that are in use."""

    held = 0

    def try_acquire(self) -> Permit | None:
        self.held += 1
        return self

    def acquire(self, give_up: Callable[[], bool], owner: object = None) -> Permit | None:
        return self.try_acquire()

    def others_wait(self, owner: object = None) -> bool:
        return False

    def release(self) -> None:
        self.held -= 1


def test_a_pool_that_is_forgotten_holds_no_permit(server: Server) -> None:
    permits = Permits()
    pool = Pool(server.for_threads(), max_size=1, budget=permits, housekeeping=False)
    with pool.lease():
        assert permits.held == 1

    del pool
    gc.collect()

    assert permits.held == 0


def test_what_a_request_keeps_is_finalized_outside_the_lock(make_pool: MakePool) -> None:
    """It may give back whatever it likes, to other pools, too."""
    pool = make_pool()
    owned: list[bool] = []

    class Kept:
        def __del__(self) -> None:
            owned.append(pool._engine.state.lock._is_owned())  # type: ignore[attr-defined]

    for reset in (False, True):
        pool._engine.plain = not reset
        lease = pool.lease()

        def serve(lease: Any = lease) -> None:
            request = Request(Invocation(request_id="r1"))
            request._kept["kept"] = Kept()
            enter(request)
            lease.acquire()

        Context().run(serve)
        lease.release()

    assert owned == [False, False]


# -------------------------------------------------------------------- wrong uses


async def _lease_as_a_thread(pool: Pool[Any]) -> None:
    with pytest.raises(WrongKindOfCaller, match="async with"), pool.lease():
        raise AssertionError("it was lent")


def test_a_task_is_told_to_wait_as_a_task(make_pool: MakePool) -> None:
    asyncio.run(_lease_as_a_thread(make_pool()))


def test_a_task_of_trio_is_told_where_it_would_have_to_wait(make_pool: MakePool) -> None:
    trio.run(_lease_as_a_thread, make_pool())


def test_a_thread_gets_no_connection_of_a_loop(make_pool: MakePool, server: Server) -> None:
    pool = make_pool(server.for_tasks())

    with pytest.raises(WrongKindOfCaller, match="only tasks"):
        pool.lease().acquire()


def test_functions_are_all_of_one_kind() -> None:
    async def close(_: Any) -> None:
        """Of a task."""

    with pytest.raises(ConfigurationError, match="plain function"):
        Pool(object, close=close)
    with pytest.raises(ConfigurationError, match="cannot be called"):
        Pool("dbname=app")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="itself"):
        Pool(Server().for_threads(), check=print)


def test_by_default_there_are_as_many_as_requests_at_once(
    make_pool: MakePool, server: Server
) -> None:
    pool = Pool(server.for_threads(), housekeeping=False)
    with pool.lease():
        pass

    assert 1 <= pool.options.max_size <= 8
    pool.close()


def test_the_log_of_a_failure_names_the_pool(
    make_pool: MakePool, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.failures = [OSError("refused")]

    with pytest.raises(OSError, match="refused"):
        make_pool(name="orders").lease().acquire()

    assert "'orders'" in caplog.text


def test_a_connection_that_can_close_itself_is_asked_to() -> None:
    closed = threading.Event()

    class Connection:
        def close(self) -> None:
            closed.set()

    pool = Pool(Connection, max_size=1)
    with pool.lease():
        pass
    pool.close()

    assert closed.is_set()


@pytest.mark.anyio
@pytest.mark.parametrize("awaited", [True, False])
async def test_one_of_a_task_is_asked_too_and_awaited_if_need_be(awaited: bool) -> None:
    closed: list[bool] = []

    async def finish() -> None:
        closed.append(True)

    class Connection:
        def close(self) -> Any:
            return finish() if awaited else closed.append(True)

    async def connect() -> Connection:
        return Connection()

    pool: Pool[Connection] = Pool(connect, max_size=1)
    async with pool.lease():
        pass
    await pool.aclose()

    assert closed == [True]
