"""One request's way to a connection that it cannot have at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from lmi_runtime import _sync, context
from lmi_runtime.pools.core import Orders
from lmi_runtime.pools.engine import Engine
from lmi_runtime.pools.members import Lane, Member, Waiter
from lmi_runtime.pools.tending import put_off, see_to_dropped

__all__ = ["acquire", "acquire_in_task"]

C = TypeVar("C")

_LEAST_LOOK_S = 0.05
"""A request with less time than that would find each connection dead, and have it closed."""


def acquire(engine: Engine[C], lane: Lane[C], now_s: float, timeout_s: float | None) -> Member[C]:
    """For threads."""
    wait = _wait_of(engine, lane, now_s, timeout_s)
    while True:
        member = wait.take(_sync.ThreadParker)
        while member is None:
            wait.park_blocking()
            member = wait.settle(_sync.ThreadParker)
        if wait.is_fresh(member) or _fit(engine, member, wait):
            return wait.lent(member)
        wait.again(member)


async def acquire_in_task(
    engine: Engine[C], lane: Lane[C], now_s: float, timeout_s: float | None
) -> Member[C]:
    """For tasks."""
    wait = _wait_of(engine, lane, now_s, timeout_s)
    while True:
        member = wait.take(_sync.async_parker)
        while member is None:
            await wait.park()
            member = wait.settle(_sync.async_parker)
        if wait.is_fresh(member) or await _fit_in_task(engine, member, wait):
            return wait.lent(member)
        wait.again(member)


def _wait_of(engine: Engine[C], lane: Lane[C], now_s: float, timeout_s: float | None) -> Wait[C]:
    if engine.unsized:
        engine.size_by_worker()
    see_to_dropped(engine.keeper)
    deadline_s = now_s + (engine.options.timeout_s if timeout_s is None else timeout_s)
    return Wait(engine, lane, now_s, min(deadline_s, context.deadline_s()))


def _fit(engine: Engine[C], member: Member[C], wait: Wait[C]) -> bool:
    if not engine.handling.may_be_fit(member):
        return False
    if not engine.handling.must_check(member, engine.options):
        return True
    try:
        alive = engine.handling.check(member, wait.io_s())
    except BaseException:
        wait.abort(member)
        raise
    return wait.checked(member, alive)


async def _fit_in_task(engine: Engine[C], member: Member[C], wait: Wait[C]) -> bool:
    if not engine.handling.may_be_fit(member):
        return False
    if not engine.handling.must_check(member, engine.options):
        return True
    try:
        alive = await engine.handling.acheck(member, wait.io_s())
    except BaseException:
        wait.abort(member)
        raise
    return wait.checked(member, alive)


class Wait(Generic[C]):
    """
    One request's way to a connection, as far as threads and tasks go the same.

    Thread safety: belongs to one thread or task.
    """

    __slots__ = (
        "_deadline_s",
        "_engine",
        "_first",
        "_lane",
        "_since_s",
        "_state",
        "_waited",
        "_waiter",
    )

    def __init__(
        self,
        engine: Engine[C],
        lane: Lane[C],
        now_s: float,
        deadline_s: float,
    ) -> None:
        self._engine = engine
        self._state = engine.state
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
                member.lend(_sync.monotonic())
                return member
            self._waiter = state.join_locked(
                lane, parker(), self._since_s, self._deadline_s, orders, first=self._first
            )
            self._waited = True
        self._engine.carry_out(orders)
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
        if self._state.lock._is_owned():  # type: ignore[attr-defined]
            put_off(self._engine, self._leave)
            return
        orders: Orders[C] = Orders()
        with self._state.lock:
            self._state.leave_locked(self._waiter, _sync.monotonic(), orders)
        self._engine.carry_out(orders)

    def settle(self, parker: Callable[[], Any]) -> Member[C] | None:
        """What there is after having been woken, or when time is up."""
        assert self._waiter is not None
        orders: Orders[C] = Orders()
        with self._state.lock:
            member = self._state.settle_locked(self._waiter, _sync.monotonic(), parker, orders)
        self._engine.carry_out(orders)
        return member

    def is_fresh(self, member: Member[C]) -> bool:
        """Whether nobody has to look at it."""
        return _sync.monotonic() < member.fresh_until_s

    def io_s(self) -> float:
        """How long a look at a connection may take."""
        left_s = self._deadline_s - _sync.monotonic()
        return min(max(left_s, _LEAST_LOOK_S), self._engine.options.io_timeout_s)

    def checked(self, member: Member[C], alive: bool) -> bool:
        """Note what a check said."""
        if alive:
            with self._state.lock:
                member.trust()
        else:
            self._engine.distrust_others()
        return alive

    def abort(self, member: Member[C]) -> None:
        """Cancelled while it was looked at: nobody knows how it is."""
        self._engine.give(member, good=False)

    def again(self, member: Member[C]) -> None:
        """It is not fit to be lent: it goes, and its borrower is first in line."""
        expired = _sync.monotonic() >= member.expires_s
        with self._state.lock:
            member.doom("closed_expired" if expired else "closed_broken")
        self._engine.give(member, good=False)
        self._first = True

    def lent(self, member: Member[C]) -> Member[C]:
        """Count it."""
        with self._state.lock:
            since_s = self._since_s if self._waited else None
            self._state.count_lease_locked(member, since_s, _sync.monotonic())
        return member
