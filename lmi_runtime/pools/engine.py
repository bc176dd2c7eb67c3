"""What is done about a pool's state, outside its lock: wake, open, close, and count the hours."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from lmi_runtime import _sync
from lmi_runtime.context import worker
from lmi_runtime.pools import registry
from lmi_runtime.pools.accounts import longest_lent_first_locked
from lmi_runtime.pools.core import Orders, PoolState
from lmi_runtime.pools.handling import Handling
from lmi_runtime.pools.inherited import leave_to_parent
from lmi_runtime.pools.keeper import keeper
from lmi_runtime.pools.leaks import who
from lmi_runtime.pools.members import Lane, Member
from lmi_runtime.pools.model import Budget, Connector, Permit
from lmi_runtime.pools.opening import open_blocking, open_in_task
from lmi_runtime.pools.policy import PoolOptions
from lmi_runtime.pools.tending import Attendant, put_off, see_to_put_off

__all__ = ["DEFAULT_MAX_SIZE", "Engine"]

C = TypeVar("C")
Parker = _sync.ThreadParker | _sync.AsyncParker

_log = logging.getLogger("lmi_runtime.pools")

DEFAULT_MAX_SIZE = 8


class Engine(Generic[C]):
    """
    A pool's state and what is done about it. A forked child gets another one.

    Args:
        connector: How connections are handled.
        name: For logs and errors.
        options: The limits.
        budget: Where each connection's permit comes from.
        tended: Whether a thread looks after it.
        sized_by_worker: `max_size` is to be what the worker needs, once that is known.

    Thread safety: from any thread and task.
    """

    home = None  # it may be closed from anywhere

    def __init__(
        self,
        connector: Connector[C],
        name: str,
        options: PoolOptions,
        *,
        budget: Budget | None,
        tended: bool,
        sized_by_worker: bool,
    ) -> None:
        self.connector = connector
        self.name = name
        self.budget = budget
        self.handling = Handling(connector, name)
        self.plain = self.handling.plain
        self.state: PoolState[C] = PoolState(name, options, lanes_by_loop=connector.asynchronous)
        self.unsized = sized_by_worker  # guarded by the state's lock
        self.attendant = Attendant(self)
        self.tended = tended
        self.keeper = keeper()
        self._registered = False  # from any thread: twice does no harm
        self._onlookers: list[Parker] = []  # guarded by the state's lock

    @property
    def options(self) -> PoolOptions:
        """The limits now."""
        return self.state.options

    def lane_here(self) -> Lane[C]:
        """The lane of the running loop."""
        home = _sync.current_home()
        if home is None:
            raise RuntimeError("No event loop is running in this thread.")
        lane = self.state.lanes.get(home)
        if lane is not None:
            return lane
        with self.state.lock:
            return self.state.lane_of_locked(home)

    def size_by_worker(self) -> None:
        """Only now is it certain how many invocations this process serves at once."""
        orders: Orders[C] = Orders()
        with self.state.lock:
            if self.unsized:
                self.unsized = False
                least = self.options.min_size
                most = max(least, min(worker().slots, DEFAULT_MAX_SIZE))
                self.state.resize_locked(least, most, orders)
        self.carry_out(orders)

    def resize(self, min_size: int | None, max_size: int | None) -> None:
        """Change the limits, unless they cannot be kept."""
        orders: Orders[C] = Orders()
        with self.state.lock:
            now = self.options
            self.state.resize_locked(
                now.min_size if min_size is None else min_size,
                now.max_size if max_size is None else max_size,
                orders,
            )
            self.unsized = self.unsized and max_size is None
        self.carry_out(orders)

    def drain(self) -> None:
        """Replace every connection."""
        orders: Orders[C] = Orders()
        with self.state.lock:
            self.state.drain_locked(orders)
        self.carry_out(orders)

    def give(self, member: Member[C], *, good: bool) -> None:
        """A connection is free again, or has to be replaced."""
        if self.state.lock._is_owned():  # type: ignore[attr-defined]
            put_off(self, partial(self.give, member, good=good))
            return
        orders: Orders[C] = Orders()
        _request = member.request  # what it keeps is not finalized under the lock
        with self.state.lock:
            if not good:
                member.doom("closed_broken")
            self.state.give_locked(member, _sync.monotonic(), orders)
        self.carry_out(orders)

    def distrust_others(self) -> None:
        """
        One connection turned out to be broken: look at each of the others before lending it.

        What broke it, such as a restart of the server, will have broken them too, however
        recently they were used.
        """
        if self.connector.check is not None:
            with self.state.lock:
                self.state.suspect_locked()

    # ------------------------------------------------------------ for openers

    def pause_before_opening_s(self, lane: Lane[C]) -> float:
        """How long to put off the next attempt; 0 when nobody wants it any more."""
        state = self.state
        with state.lock:
            return state.retry_at_s - _sync.monotonic() if state.wanted_locked(lane) else 0.0

    def wants(self, lane: Lane[C]) -> bool:
        """Whether a connection that is still to be opened has anybody to go to."""
        state = self.state
        with state.lock:
            return state.wanted_locked(lane)

    def opened(self, lane: Lane[C], connection: C, permit: Permit | None, began_s: float) -> None:
        """A connection has been opened."""
        state = self.state
        if not self._registered:
            # After what the connector itself needed, and before what is opened with this one's
            # help: both are closed in reverse order.
            self._registered = True
            registry.register(self)
        orders: Orders[C] = Orders()
        now_s = _sync.monotonic()
        with state.lock:
            state.opened_locked(lane, connection, permit, began_s, now_s, orders)
        self.carry_out(orders)

    def open_failed(
        self, lane: Lane[C], permit: Permit | None, began_s: float, error: BaseException
    ) -> None:
        """An attempt failed."""
        if permit is not None:
            permit.release()
        _log.info("Pool %r: opening a connection failed: %r", self.name, error)
        state = self.state
        orders: Orders[C] = Orders()
        with state.lock:
            state.open_failed_locked(lane, began_s, error, _sync.monotonic(), orders)
        self.carry_out(orders)

    def open_given_up(self, lane: Lane[C], permit: Permit | None) -> None:
        """An attempt ended because nobody wanted it."""
        if permit is not None:
            permit.release()
        state = self.state
        orders: Orders[C] = Orders()
        with state.lock:
            state.open_given_up_locked(lane, orders)
        self.carry_out(orders)

    # ------------------------------------------------------------------ orders

    def carry_out(self, orders: Orders[C]) -> None:
        """Do what was decided under the lock. Never raises, never waits."""
        state = self.state
        if state.inherited:
            return
        while orders.wake or orders.open or orders.close:
            for waiter in _taken(orders.wake):
                if not waiter.parker.unpark():
                    with state.lock:
                        state.unreachable_locked(waiter, _sync.monotonic(), orders)
            for lane in _taken(orders.open):
                self._open(lane, orders)
            for member in _taken(orders.close):
                self._close(member)
        if state.closed:
            self._wake_onlookers()
        see_to_put_off(self.keeper)

    def _open(self, lane: Lane[C], orders: Orders[C]) -> None:
        if self.tended:
            # Not our own: a pool may be older than the controlled run that needs a thread for it.
            keeper().watch(self.attendant)
        if lane.home is not None:
            if not self._in_task(lane, partial(open_in_task, self, lane), "open"):
                self.drop_lane(lane)
            return
        try:
            _sync.spawn(partial(open_blocking, self, lane), name=f"open {self.name}")
        except RuntimeError as error:  # no more threads
            now_s = _sync.monotonic()
            with self.state.lock:
                self.state.open_failed_locked(lane, now_s, error, now_s, orders, again=False)

    def _close(self, member: Member[C]) -> None:
        if self.connector.close is None:
            self._closed(member)
        elif member.lane.home is None:
            closing = partial(self._close_blocking, member)
            try:
                _sync.spawn(closing, name=f"close {self.name}")
            except RuntimeError:  # no more threads, or the interpreter ends
                closing()
        elif not self._in_task(member.lane, partial(self._close_in_task, member), "close"):
            self.handling.abandon(member)
            self._closed(member)

    def _close_blocking(self, member: Member[C]) -> None:
        self.handling.close(member)
        self._closed(member)

    async def _close_in_task(self, member: Member[C]) -> None:
        done = False
        try:
            done = await self.handling.aclose(member, self.options.io_timeout_s)
        finally:
            if not done:
                self.handling.abandon(member)
            self._closed(member)

    def _closed(self, member: Member[C]) -> None:
        # Only now may another process, or pool, open one in its place.
        member.release_permit()
        with self.state.lock:
            self.state.closing.discard(member)
        if self.state.closed:
            self._wake_onlookers()

    def _in_task(self, lane: Lane[C], body: Callable[[], Any], what: str) -> bool:
        name = f"{what} {self.name}"
        if lane.home is _sync.current_home():
            try:
                _sync.spawn_task(body, name=name)
            except RuntimeError:  # the run ends
                return False
            return True
        return _sync.spawn_task_on(lane.home, body, name=name)

    def drop_lane(self, lane: Lane[C]) -> None:
        """The loop is closed: its connections cannot even be closed."""
        orders: Orders[C] = Orders()
        with self.state.lock:
            gone = self.state.drop_lane_locked(lane, orders)
        for member in gone:
            self.handling.abandon(member)
            member.release_permit()
        while lane.permits:
            lane.permits.pop().release()
        self.carry_out(orders)

    # ----------------------------------------------------------------- closing

    def close(self, timeout_s: float) -> None:
        """For threads."""
        parker = _sync.ThreadParker()
        if not self._start_closing(parker) and not parker.park(timeout_s):
            self._tell_lent()

    async def aclose(self, timeout_s: float) -> None:
        """For tasks."""
        parker = _sync.async_parker()
        if not self._start_closing(parker) and not await parker.park(timeout_s):
            self._tell_lent()

    def close_now(self, budget_s: float) -> None:
        """The process stops."""
        self.close(budget_s)

    def _start_closing(self, parker: Parker) -> bool:
        orders: Orders[C] = Orders()
        with self.state.lock:
            self.state.close_locked(orders)
            self._onlookers.append(parker)
        self.carry_out(orders)
        registry.forget(self)
        return self.is_quiet()

    def has_to_give_way(self) -> bool:
        """Whether others wait for a permit of the budget that this pool does not give back yet."""
        budget = self.budget
        if budget is None or self.state.closing or not self.state.members:
            return False
        return budget.others_wait(self)

    def is_quiet(self) -> bool:
        """Whether nothing is open, nor being opened or closed."""
        with self.state.lock:
            return self._quiet_locked()

    def _quiet_locked(self) -> bool:
        return not (self.state.members or self.state.opening or self.state.closing)

    def _wake_onlookers(self) -> None:
        with self.state.lock:
            waiting = _taken(self._onlookers) if self._quiet_locked() else []
        for parker in waiting:
            parker.unpark()

    def _tell_lent(self) -> None:
        with self.state.lock:
            lent = [(m.request, m.where) for m in longest_lent_first_locked(self.state)]
        for request, place in lent:
            _log.warning(
                "Pool %r was closed while a connection was lent (%s)",
                self.name,
                who(request, place),
            )

    def leave_to_parent(self) -> None:
        """In a child: what is open belongs to the parent. No other thread runs yet."""
        state = self.state
        state.lock = _sync.RLock()  # somebody in the parent may have held it
        state.inherited = state.closed = True
        for member in (*state.members, *state.closing):
            leave_to_parent(member.connection)
            self.handling.abandon(member)

    def __del__(self) -> None:
        # Nobody can use or close its connections any more.
        for member in self.state.members:
            member.release_permit()


def _taken(things: list[Any]) -> list[Any]:
    taken = things[:]
    things.clear()
    return taken
