"""Lend connections to threads and tasks alike, first come first served."""

from __future__ import annotations

import inspect
import logging
import os
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Generic, TypeVar, cast

from lmi_runtime import _sync
from lmi_runtime.context import peek, worker
from lmi_runtime.errors import ConfigurationError
from lmi_runtime.pools import registry
from lmi_runtime.pools.core import Orders, PoolState
from lmi_runtime.pools.handling import Handling
from lmi_runtime.pools.inherited import leave_to_parent
from lmi_runtime.pools.keeper import begin_anew, keeper
from lmi_runtime.pools.leaks import lent_at, who
from lmi_runtime.pools.lease import Lease
from lmi_runtime.pools.members import Lane, Member, Waiter
from lmi_runtime.pools.model import Budget, Connector, Permit, PoolStatistics
from lmi_runtime.pools.opening import open_blocking, open_in_task
from lmi_runtime.pools.policy import PoolOptions

__all__ = ["Pool"]

C = TypeVar("C")

_log = logging.getLogger("lmi_runtime.pools")

_pools: weakref.WeakSet[Pool[Any]] = weakref.WeakSet()
"""For forks. Changed in one atomic step."""
_dropped: deque[tuple[Pool[Any], PoolState[Any], Member[Any]]] = deque()
"""What finalizers found lent. Changed in atomic steps: a finalizer may interrupt anything."""

_DEFAULT_MAX_SIZE = 8
_LEAP_S = 5.0
_TEND_S = 1.0
_TEND_BUDGET_S = 0.02


class Pool(Generic[C]):
    """
    Connections that requests share, one at a time each.

    ``with pool.lease() as connection`` is for threads, ``async with pool.lease() as connection``
    for tasks of asyncio, uvloop and trio; one pool serves them all, in the order they came. It
    may be made at import: nothing is opened before somebody needs it, and a forked child opens
    connections of its own.

    Connections from a plain function are opened, checked and closed in threads of the pool, and
    may be used by any thread or task. Those from an ``async def`` belong to the event loop that
    they were opened on, and only tasks of that loop get them.

    Args:
        connect: Opens a connection; or a `Connector`, as the adapters make them.
        max_size: Connections that may be open at once. By default one for each invocation that
            this worker serves at once, at most 8.
        min_size: Connections that stay open, once the pool is in use.
        timeout_s: Longest wait for a connection; a request never waits past its deadline.
        max_waiting: Requests that may wait beyond those that a connection is being opened for;
            None for any number.
        max_lifetime_s: Age at which a connection is replaced, less up to a tenth, so that those
            that were opened together are not replaced together. None: never.
        max_idle_s: A connection that nobody used for so long is closed. None: never.
        bypass_check_s: A connection that came back less than so long ago is lent unchecked.
        open_timeout_s: Longest time for an ``async def`` that opens a connection.
        io_timeout_s: Longest time for a check, a reset or a goodbye.
        leak_after_s: A lease that lasts longer is told of in the log, with where it was taken
            and for which request. None: never.
        reset_after_cancel: A connection whose block was left by a cancellation is closed, since
            it may be in the middle of an exchange. True: it is reset and lent again.
        close: Closes a connection; see `Connector` for this and the next.
        check: One round trip to an idle connection.
        reset: Brings a connection back to how it was opened.
        budget: A `ConnectionBudget` that this pool takes a permit from for each connection.
        name: What logs and errors call it.
        housekeeping: False: no thread looks after the pool. Idle connections then stay open, and
            leaks are not noticed.

    Raises:
        ConfigurationError: A limit cannot be kept.

    Thread safety: from any thread and task, and from several event loops at once.
    """

    def __init__(
        self,
        connect: Callable[[], Any] | Connector[C],
        *,
        max_size: int | None = None,
        min_size: int = 0,
        timeout_s: float = 30.0,
        max_waiting: int | None = None,
        max_lifetime_s: float | None = 1800.0,
        max_idle_s: float | None = 300.0,
        bypass_check_s: float = 0.5,
        open_timeout_s: float = 30.0,
        io_timeout_s: float = 5.0,
        leak_after_s: float | None = 60.0,
        reset_after_cancel: bool = False,
        close: Callable[[C], Any] | None = None,
        check: Callable[[C], Any] | None = None,
        reset: Callable[[C], Any] | None = None,
        budget: Budget | None = None,
        name: str | None = None,
        housekeeping: bool = True,
    ) -> None:
        self.connector: Connector[C] = _connector(connect, close, check, reset)
        self.name = name or self.connector.name
        self.budget = budget
        self._sized_by_worker = max_size is None
        self._unsized = self._sized_by_worker  # guarded by the state's lock
        self._housekeeping = housekeeping
        options = PoolOptions(
            max_size=max(_DEFAULT_MAX_SIZE, min_size) if max_size is None else max_size,
            min_size=min_size,
            timeout_s=timeout_s,
            max_waiting=max_waiting,
            max_lifetime_s=max_lifetime_s,
            max_idle_s=max_idle_s,
            bypass_check_s=bypass_check_s,
            open_timeout_s=open_timeout_s,
            io_timeout_s=io_timeout_s,
            leak_after_s=leak_after_s,
            reset_after_cancel=reset_after_cancel,
        )
        self._handling = Handling(self.connector, self.name)
        self.plain: bool = self._handling.plain
        self._state: PoolState[C]
        self._begin(options)
        _pools.add(self)

    def _begin(self, options: PoolOptions) -> None:
        self._state = PoolState(self.name, options, lanes_by_loop=self.connector.asynchronous)
        self._closing: set[Member[C]] = set()  # guarded by the state's lock
        self._onlookers: list[_sync.ThreadParker | _sync.AsyncParker] = []  # likewise
        self._leap_s = _sync.wall_time() - _sync.monotonic()  # keeper's thread only

    @property
    def options(self) -> PoolOptions:
        """The limits now."""
        return self._state.options

    @property
    def home(self) -> None:
        """It may be closed from anywhere."""
        return None

    def lease(self, *, timeout_s: float | None = None) -> Lease[C]:
        """
        Borrow a connection: ``with`` in threads, ``async with`` in tasks.

        Args:
            timeout_s: Longest wait for it; the pool's own by default. Never past the deadline
                of the request.

        Raises:
            PoolTimeout: On entering: none became free in time.
            PoolOverloaded: On entering: too many requests wait already.
            PoolClosed: On entering: the pool has been closed.
            WrongKindOfCaller: On entering: see `Lease.acquire`.
            Exception: On entering: what opening a connection raised.
        """
        return Lease(self, timeout_s)

    def statistics(self) -> PoolStatistics:
        """What the pool has done, and how it is."""
        state = self._state
        with state.lock:
            return state.statistics_locked()

    def resize(self, *, max_size: int | None = None, min_size: int | None = None) -> None:
        """
        Change how many connections may, or have to be, open.

        What is too much is closed: idle connections now, lent ones when they come back.

        Raises:
            ConfigurationError: A limit cannot be kept.
        """
        state = self._state
        orders: Orders[C] = Orders()
        with state.lock:
            now = state.options
            most = now.max_size if max_size is None else max_size
            least = now.min_size if min_size is None else min_size
            replace(now, max_size=most, min_size=least)  # judges them
            self._unsized = self._unsized and max_size is None
            state.resize_locked(least, most, orders)
        self.carry_out(state, orders)

    def drain(self) -> None:
        """Replace every connection: idle ones are closed now, lent ones when they come back."""
        state = self._state
        orders: Orders[C] = Orders()
        with state.lock:
            state.drain_locked(orders)
        self.carry_out(state, orders)

    def close(self, timeout_s: float = 5.0) -> None:
        """
        Lend nothing any more, and wait until every connection is closed.

        Those who wait get PoolClosed. What is still lent when time is up is named in the log,
        and closed when it comes back.

        Args:
            timeout_s: Longest wait for what is lent to come back.

        Thread safety: from any thread that runs no event loop that connections belong to.
        """
        state = self._state
        parker = _sync.ThreadParker()
        if not self._start_closing(state, parker) and not parker.park(timeout_s):
            self._tell_lent(state)

    async def aclose(self, timeout_s: float = 5.0) -> None:
        """Like `close`, from a task."""
        state = self._state
        parker = _sync.async_parker()
        if not self._start_closing(state, parker) and not await parker.park(timeout_s):
            self._tell_lent(state)

    def close_now(self, budget_s: float) -> None:
        """Close it because the process stops."""
        self.close(budget_s)

    # ------------------------------------------------- for leases: taking one

    def lane_here(self, state: PoolState[C]) -> Lane[C]:
        """The lane of the running loop."""
        home = _sync.current_home()
        if home is None:
            raise RuntimeError("No event loop is running in this thread.")
        lane = state.lanes.get(home)
        if lane is not None:
            return lane
        with state.lock:
            return state.lane_of_locked(home)

    def acquire(
        self, state: PoolState[C], lane: Lane[C], now_s: float, timeout_s: float | None
    ) -> Member[C]:
        """Where there is nothing to take without looking; for threads."""
        wait = self._wait_of(state, lane, now_s, timeout_s)
        while True:
            member = wait.take(_sync.ThreadParker)
            while member is None:
                wait.park_blocking()
                member = wait.settle(_sync.ThreadParker)
            if wait.fresh(member) or self._fit(member, wait):
                return wait.lent(member)
            wait.again(member)

    async def aacquire(
        self, state: PoolState[C], lane: Lane[C], now_s: float, timeout_s: float | None
    ) -> Member[C]:
        """Where there is nothing to take without looking; for tasks."""
        wait = self._wait_of(state, lane, now_s, timeout_s)
        while True:
            member = wait.take(_sync.async_parker)
            while member is None:
                await wait.park()
                member = wait.settle(_sync.async_parker)
            if wait.fresh(member) or await self._afit(member, wait):
                return wait.lent(member)
            wait.again(member)

    def _wait_of(
        self, state: PoolState[C], lane: Lane[C], now_s: float, timeout_s: float | None
    ) -> _Wait[C]:
        if self._unsized:
            self._size_by_worker(state)
        if _dropped:
            self._see_to_dropped()
        deadline_s = now_s + (state.options.timeout_s if timeout_s is None else timeout_s)
        request = peek()
        if request is not None and request.deadline_s is not None:
            deadline_s = min(deadline_s, request.deadline_s)
        return _Wait(self, state, lane, now_s, deadline_s)

    def _size_by_worker(self, state: PoolState[C]) -> None:
        orders: Orders[C] = Orders()
        with state.lock:
            if self._unsized:
                self._unsized = False
                least = state.options.min_size
                most = max(least, min(worker().slots, _DEFAULT_MAX_SIZE))
                state.resize_locked(least, most, orders)
        self.carry_out(state, orders)

    def _fit(self, member: Member[C], wait: _Wait[C]) -> bool:
        handling = self._handling
        if not self._may_be_fit(member):
            return False
        if not handling.must_check(member, _sync.monotonic(), self.options):
            return True
        return wait.guarded(member, handling.check(member, wait.io_s()))

    async def _afit(self, member: Member[C], wait: _Wait[C]) -> bool:
        handling = self._handling
        if not self._may_be_fit(member):
            return False
        if not handling.must_check(member, _sync.monotonic(), self.options):
            return True
        try:
            alive = await handling.acheck(member, wait.io_s())
        except BaseException:
            wait.abort(member)
            raise
        return wait.guarded(member, alive)

    def _may_be_fit(self, member: Member[C]) -> bool:
        if _sync.monotonic() >= member.expires_s or not self._handling.looks_usable(member):
            return False
        return self.connector.check is not None or not member.suspect

    # -------------------------------------------- for leases: taking one back

    def take_back(
        self, state: PoolState[C], member: Member[C], error: BaseException | None
    ) -> None:
        """A connection comes back from a thread, perhaps not as it was lent."""
        handling = self._handling
        good = self._good_as_it_is(member, error)
        try:
            if good and handling.must_reset(member):
                good = handling.reset(member, self.options.io_timeout_s)
        except BaseException:
            good = False
            raise
        finally:
            self.give(state, member, good=good)

    async def atake_back(
        self, state: PoolState[C], member: Member[C], error: BaseException | None
    ) -> None:
        """A connection comes back from a task, perhaps not as it was lent."""
        good = self._good_as_it_is(member, error)
        if not good or not self._handling.must_reset(member):
            self.give(state, member, good=good)
            return
        done: list[bool] = []

        async def reset() -> None:
            done.append(await self._handling.areset(member, self.options.io_timeout_s))

        try:
            await _sync.shielded(reset)
        finally:
            self.give(state, member, good=done == [True])

    def _good_as_it_is(self, member: Member[C], error: BaseException | None) -> bool:
        cancelled = error is not None and not isinstance(error, Exception)
        if cancelled and not self.options.reset_after_cancel:
            return False
        return self._handling.looks_usable(member)

    def give(self, state: PoolState[C], member: Member[C], *, good: bool) -> None:
        """A connection is free again, or has to be replaced."""
        orders: Orders[C] = Orders()
        with state.lock:
            if not good:
                member.doomed = member.doomed or "closed_broken"
            state.give_locked(member, _sync.monotonic(), orders)
        self.carry_out(state, orders)

    def dropped(self, state: PoolState[C], member: Member[C]) -> None:
        """A lease was forgotten while it had a connection. Called by finalizers: takes no lock."""
        _dropped.append((self, state, member))
        if self._housekeeping:
            keeper().poke()

    # ------------------------------------------------------------ for openers

    def pause_before_opening_s(self, lane: Lane[C]) -> float:
        """How long to put off the next attempt; 0 when nobody wants it any more."""
        state = self._state
        with state.lock:
            return state.retry_at_s - _sync.monotonic() if state.wanted_locked(lane) else 0.0

    def wants(self, lane: Lane[C]) -> bool:
        """Whether a connection that is still to be opened has anybody to go to."""
        state = self._state
        with state.lock:
            return state.wanted_locked(lane)

    def opened(self, lane: Lane[C], connection: C, permit: Permit | None, began_s: float) -> None:
        """A connection has been opened."""
        state = self._state
        orders: Orders[C] = Orders()
        now_s = _sync.monotonic()
        with state.lock:
            state.opened_locked(lane, connection, permit, began_s, now_s, orders)
        self.carry_out(state, orders)

    def open_failed(
        self, lane: Lane[C], permit: Permit | None, began_s: float, error: BaseException
    ) -> None:
        """An attempt failed."""
        if permit is not None:
            permit.release()
        _log.info("Pool %r: opening a connection failed: %r", self.name, error)
        state = self._state
        orders: Orders[C] = Orders()
        with state.lock:
            state.open_failed_locked(lane, began_s, error, _sync.monotonic(), orders)
        self.carry_out(state, orders)

    def open_given_up(self, lane: Lane[C], permit: Permit | None) -> None:
        """An attempt ended because nobody wanted it."""
        if permit is not None:
            permit.release()
        state = self._state
        orders: Orders[C] = Orders()
        with state.lock:
            state.open_given_up_locked(lane, orders)
        self.carry_out(state, orders)

    # ------------------------------------------------------------------ orders

    def carry_out(self, state: PoolState[C], orders: Orders[C]) -> None:
        """Do what was decided under the lock. Never raises, never waits."""
        if state.inherited:
            return
        while orders.wake or orders.open or orders.close:
            for waiter in _taken(orders.wake):
                if not waiter.parker.unpark():
                    with state.lock:
                        state.unreachable_locked(waiter, _sync.monotonic(), orders)
            for lane in _taken(orders.open):
                self._open(state, lane, orders)
            for member in _taken(orders.close):
                self._close(state, member)
        if state.closed:
            self._wake_onlookers(state)

    def _open(self, state: PoolState[C], lane: Lane[C], orders: Orders[C]) -> None:
        registry.register(self)
        if self._housekeeping:
            keeper().watch(self)
        if lane.home is None:
            try:
                _sync.spawn(partial(open_blocking, self, lane), name=f"open {self.name}")
            except RuntimeError as error:  # no more threads
                with state.lock:
                    now_s = _sync.monotonic()
                    state.open_failed_locked(lane, now_s, error, now_s, orders)
        elif not self._in_task(lane, partial(open_in_task, self, lane), "open"):
            self._drop_lane(state, lane)

    def _close(self, state: PoolState[C], member: Member[C]) -> None:
        with state.lock:
            self._closing.add(member)
        handling = self._handling
        if self.connector.close is None:
            handling.let_go(member)
            self._closed(state, member)
        elif member.lane.home is None:
            closing = partial(self._close_blocking, state, member)
            try:
                _sync.spawn(closing, name=f"close {self.name}")
            except RuntimeError:  # no more threads, or the interpreter ends
                closing()
        elif not self._in_task(member.lane, partial(self._close_in_task, state, member), "close"):
            handling.abandon(member)
            handling.let_go(member)
            self._closed(state, member)

    def _close_blocking(self, state: PoolState[C], member: Member[C]) -> None:
        self._handling.close(member)
        self._closed(state, member)

    async def _close_in_task(self, state: PoolState[C], member: Member[C]) -> None:
        try:
            await self._handling.aclose(member, self.options.io_timeout_s)
        finally:
            self._closed(state, member)

    def _closed(self, state: PoolState[C], member: Member[C]) -> None:
        with state.lock:
            self._closing.discard(member)
        if state.closed:
            self._wake_onlookers(state)

    def _in_task(self, lane: Lane[C], body: Callable[[], Any], what: str) -> bool:
        name = f"{what} {self.name}"
        if lane.home is _sync.current_home():
            _sync.spawn_task(body, name=name)
            return True
        return _sync.spawn_task_on(lane.home, body, name=name)

    def _drop_lane(self, state: PoolState[C], lane: Lane[C]) -> None:
        with state.lock:
            gone = state.drop_lane_locked(lane)
        for member in gone:
            self._handling.abandon(member)
            self._handling.let_go(member)

    # ----------------------------------------------------------------- closing

    def _start_closing(
        self, state: PoolState[C], parker: _sync.ThreadParker | _sync.AsyncParker
    ) -> bool:
        orders: Orders[C] = Orders()
        with state.lock:
            state.close_locked(orders)
            self._onlookers.append(parker)
        self.carry_out(state, orders)
        registry.forget(self)
        with state.lock:
            return self._quiet_locked(state)

    def _quiet_locked(self, state: PoolState[C]) -> bool:
        return not (state.members or state.opening or self._closing)

    def _wake_onlookers(self, state: PoolState[C]) -> None:
        with state.lock:
            waiting = _taken(self._onlookers) if self._quiet_locked(state) else []
        for parker in waiting:
            parker.unpark()

    def _tell_lent(self, state: PoolState[C]) -> None:
        with state.lock:
            lent = [(m.request, m.where) for m in state.lent_locked()]
        for request, place in lent:
            _log.warning(
                "Pool %r was closed while a connection was lent (%s)",
                self.name,
                who(request, place),
            )

    # ------------------------------------------------------------ housekeeping

    def tend(self, now_s: float) -> float | None:
        """Do what is due. Thread safety: keeper's thread only."""
        state = self._state
        orders: Orders[C] = Orders()
        self._see_to_dropped()
        self._drop_dead_lanes(state)
        leapt = self._clock_leapt(now_s)
        leaks: list[Member[C]] = []
        with state.lock:
            if leapt:
                state.suspect_locked()
            state.revoke_locked(now_s, orders)
            state.reap_locked(now_s, orders)
            if self.budget is not None and state.members and self.budget.others_wait():
                state.give_way_locked(orders)
            for lane in state.lanes.values():
                state.refill_locked(lane, orders)
            leaks = self._leaks_locked(state, now_s)
            over = self._quiet_locked(state) and not any(x.line for x in state.lanes.values())
        for member in leaks:
            self._tell_leak(member, f"has been lent for {now_s - member.leased_s:.3g} s")
        self.carry_out(state, orders)
        if over:
            return None
        return _TEND_S if self.budget is None else _TEND_BUDGET_S

    def _clock_leapt(self, now_s: float) -> bool:
        """
        Whether the clocks moved against each other: this process was stopped, or restored.

        Its connections may have been closed by the other end long ago, whatever the monotonic
        clock says of when they were used last.
        """
        offset_s = _sync.wall_time() - now_s
        leapt, self._leap_s = abs(offset_s - self._leap_s) > _LEAP_S, offset_s
        return leapt

    def _leaks_locked(self, state: PoolState[C], now_s: float) -> list[Member[C]]:
        longest_s = state.options.leak_after_s
        if longest_s is None:
            return []
        leaks = [
            member
            for member in state.members
            if member.lent
            and now_s - member.leased_s >= longest_s
            and member.reported_s != member.leased_s
        ]
        for member in leaks:
            member.reported_s = member.leased_s
            state.counts["leaks"] += 1
        return leaks

    def _tell_leak(self, member: Member[C], what: str) -> None:
        request, place = member.request, member.where
        _log.warning(
            "Pool %r: a connection %s (%s). It was taken at:\n%s",
            self.name,
            what,
            who(request, place),
            lent_at(place),
        )

    def _see_to_dropped(self) -> None:
        for _ in range(len(_dropped)):
            try:
                pool, state, member = _dropped.popleft()
            except IndexError:
                return
            if not state.inherited:
                pool._forgotten(state, member)

    def _forgotten(self, state: PoolState[C], member: Member[C]) -> None:
        with state.lock:
            state.counts["leaks"] += 1
        self._tell_leak(member, "was never returned: its lease was dropped")
        self.give(state, member, good=False)

    def _drop_dead_lanes(self, state: PoolState[C]) -> None:
        if state.only is not None:
            return
        with state.lock:
            lanes = list(state.lanes.values())
        for lane in lanes:
            if not _sync.is_alive(lane.home):
                self._drop_lane(state, lane)

    # -------------------------------------------------------------------- forks

    def begin_anew(self) -> None:
        """In a child: what is open belongs to the parent. No other thread runs yet."""
        old = self._state
        old.lock = _sync.Lock()
        old.inherited = old.closed = True
        for member in old.members:
            leave_to_parent(member.connection)
            self._handling.abandon(member)
        self._unsized = self._sized_by_worker
        self._begin(old.options)


class _Wait(Generic[C]):
    """
    One request's way to a connection, as far as threads and tasks go the same.

    Thread safety: belongs to one thread or task.
    """

    __slots__ = (
        "_deadline_s",
        "_first",
        "_lane",
        "_pool",
        "_since_s",
        "_state",
        "_waited",
        "_waiter",
    )

    def __init__(
        self,
        pool: Pool[C],
        state: PoolState[C],
        lane: Lane[C],
        now_s: float,
        deadline_s: float,
    ) -> None:
        self._pool = pool
        self._state = state
        self._lane = lane
        self._since_s = now_s
        self._deadline_s = deadline_s
        self._first = False
        self._waited = False
        self._waiter: Waiter[C] | None = None

    def take(self, parker: Callable[[], Any]) -> Member[C] | None:
        """An idle connection, or None after having got in line."""
        state, lane = self._state, self._lane
        orders: Orders[C] = Orders()
        with state.lock:
            if lane.idle:
                member = lane.idle.pop()
                member.lent = True
                return member
            self._waiter = state.join_locked(
                lane, parker(), self._since_s, self._deadline_s, orders, first=self._first
            )
            self._waited = True
        self._pool.carry_out(state, orders)
        return None

    def park_blocking(self) -> None:
        assert self._waiter is not None
        parker = cast("_sync.ThreadParker", self._waiter.parker)
        try:
            parker.park(self._deadline_s - _sync.monotonic())
        except BaseException:
            self._leave()
            raise

    async def park(self) -> None:
        assert self._waiter is not None
        parker = cast("_sync.AsyncParker", self._waiter.parker)
        try:
            await parker.park(self._deadline_s - _sync.monotonic())
        except BaseException:
            self._leave()
            raise

    def _leave(self) -> None:
        assert self._waiter is not None
        orders: Orders[C] = Orders()
        with self._state.lock:
            self._state.leave_locked(self._waiter, _sync.monotonic(), orders)
        self._pool.carry_out(self._state, orders)

    def settle(self, parker: Callable[[], Any]) -> Member[C] | None:
        """What there is after having been woken, or when time is up."""
        assert self._waiter is not None
        orders: Orders[C] = Orders()
        with self._state.lock:
            member = self._state.settle_locked(self._waiter, _sync.monotonic(), parker, orders)
        self._pool.carry_out(self._state, orders)
        return member

    def fresh(self, member: Member[C]) -> bool:
        """Whether nobody has to look at it."""
        return _sync.monotonic() < member.fresh_until_s

    def io_s(self) -> float:
        """How long a look at a connection may take."""
        left_s = self._deadline_s - _sync.monotonic()
        return max(0.001, min(left_s, self._pool.options.io_timeout_s))

    def guarded(self, member: Member[C], alive: bool) -> bool:
        """Note what a check said."""
        if alive:
            with self._state.lock:
                member.suspect = False
        return alive

    def abort(self, member: Member[C]) -> None:
        """Cancelled while it was looked at: nobody knows how it is."""
        self._pool.give(self._state, member, good=False)

    def again(self, member: Member[C]) -> None:
        """It is not fit to be lent: it goes, and its borrower is first in line."""
        expired = _sync.monotonic() >= member.expires_s
        with self._state.lock:
            member.doomed = "closed_expired" if expired else "closed_broken"
        self._pool.give(self._state, member, good=False)
        self._first = True

    def lent(self, member: Member[C]) -> Member[C]:
        """Count it."""
        with self._state.lock:
            since_s = self._since_s if self._waited else None
            self._state.count_lease_locked(member, since_s, _sync.monotonic())
        return member


def _connector(
    connect: Callable[[], Any] | Connector[C],
    close: Callable[[C], Any] | None,
    check: Callable[[C], Any] | None,
    reset: Callable[[C], Any] | None,
) -> Connector[C]:
    if isinstance(connect, Connector):
        if close or check or reset:
            raise ConfigurationError("A Connector says itself how to close, check and reset.")
        return connect
    if not callable(connect):
        raise ConfigurationError(f"{connect!r} opens no connection: it cannot be called.")
    asynchronous = inspect.iscoroutinefunction(connect)
    for name, function in (("close", close), ("check", check), ("reset", reset)):
        if function is not None and inspect.iscoroutinefunction(function) is not asynchronous:
            kind = "an async function, as connect is" if asynchronous else "a plain function"
            raise ConfigurationError(f"{name} has to be {kind}.")
    return Connector(open=connect, close=close, check=check, reset=reset, asynchronous=asynchronous)


def _taken(things: list[Any]) -> list[Any]:
    taken = things[:]
    things.clear()
    return taken


def _in_child() -> None:
    begin_anew()
    _dropped.clear()
    for pool in list(_pools):
        pool.begin_anew()


os.register_at_fork(after_in_child=_in_child)
