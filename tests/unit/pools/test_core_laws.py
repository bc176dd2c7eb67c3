"""Whatever happens to a pool's state in whatever order: nothing is lost, lent twice, or unfair."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from lmi_runtime.errors import PoolClosed, PoolOverloaded, PoolTimeout
from lmi_runtime.pools.accounts import statistics_locked
from lmi_runtime.pools.core import Orders, PoolState
from lmi_runtime.pools.members import Lane, Member, Waiter, WaiterState
from lmi_runtime.pools.policy import PoolOptions

CLOSED = ("closed_expired", "closed_idle", "closed_broken", "closed_given_up", "closed_other")


class Parker:
    def __init__(self, home: object) -> None:
        self.home = home

    def unpark(self) -> bool:
        return True


class Permit:
    """Fails when it is given back twice."""

    def __init__(self) -> None:
        self.held = True

    def release(self) -> None:
        assert self.held
        self.held = False


class Pools(RuleBasedStateMachine):
    """Threads, or loops `a`, `b` and `c`, that lease, wait, fail, break and go."""

    loops = False

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.number = 0
        self.waiting: dict[Waiter[int], int] = {}
        """With the place of each: lower is sooner. They wait, are handed or answered."""
        self.lent: list[Member[int]] = []
        self.attempts: list[Lane[int]] = []
        self.permits: list[Permit] = []
        self.leases = 0
        self.handed_before: set[Waiter[int]] = set()
        self.ceiling = 0

    @initialize(
        max_size=st.integers(1, 4),
        min_size=st.integers(0, 1),
        max_waiting=st.one_of(st.none(), st.integers(0, 3)),
    )
    def make(self, max_size: int, min_size: int, max_waiting: int | None) -> None:
        options = PoolOptions(
            max_size=max_size,
            min_size=min_size,
            max_waiting=max_waiting,
            max_lifetime_s=50.0,
            max_idle_s=20.0,
        )
        self.state: PoolState[int] = PoolState("p", options, lanes_by_loop=self.loops)
        self.ceiling = max_size

    # ----------------------------------------------------------------- helpers

    def carry_out(self, orders: Orders[int]) -> None:
        self.attempts += orders.open
        for member in orders.close:
            assert member in self.state.closing
            self.state.closing.discard(member)
            member.release_permit()
        handed = {w for w in self.waiting if w.state is WaiterState.HANDED}
        for waiter in handed - self.handed_before:
            assert waiter.deadline_s > self.now_s, "it cannot use it any more"
            for other in waiter.lane.line:
                sooner = self.waiting[other] < self.waiting[waiter]
                assert not (sooner and other.deadline_s > self.now_s), "somebody was passed by"
        self.handed_before = handed

    def lane(self, home: str) -> Lane[int]:
        return self.state.only or self.state.lane_of_locked(home)

    def pick(self, things: Any, data: st.DataObject) -> Any:
        return data.draw(st.sampled_from(list(things)))

    # ------------------------------------------------------------------- rules

    @rule(
        home=st.sampled_from("abc"),
        timeout_s=st.sampled_from([0.0, 1.0, 5.0, 1000.0]),
        first=st.booleans(),
        task=st.booleans(),
    )
    def join(self, home: str, timeout_s: float, first: bool, task: bool) -> None:
        lane = self.lane(home)
        if lane.idle:  # which a lease looks at first, under the same lock
            member = lane.idle.pop()
            member.lend(self.now_s)
            self.state.count_lease_locked(member, None, self.now_s)
            self.leases += 1
            self.lent.append(member)
            return
        orders: Orders[int] = Orders()
        self.number += 1
        parker: Any = Parker(home if task or self.loops else None)
        before = self.state.closed
        try:
            waiter = self.state.join_locked(
                lane, parker, self.now_s, self.now_s + timeout_s, orders, first=first
            )
        except PoolClosed:
            assert before
        except PoolOverloaded:
            assert self.state.options.max_waiting is not None
        else:
            self.waiting[waiter] = -self.number if first else self.number
        self.carry_out(orders)

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def open(self, data: st.DataObject) -> None:
        lane = self.pick(self.attempts, data)
        self.attempts.remove(lane)
        self.number += 1
        self.permits.append(Permit())
        orders: Orders[int] = Orders()
        self.state.opened_locked(
            lane, self.number, self.permits[-1], self.now_s, self.now_s, orders
        )
        self.carry_out(orders)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), took_s=st.sampled_from([0.0, 2.0]))
    def fail_to_open(self, data: st.DataObject, took_s: float) -> None:
        lane = self.pick(self.attempts, data)
        self.attempts.remove(lane)
        orders: Orders[int] = Orders()
        error = OSError("refused")
        self.state.open_failed_locked(lane, self.now_s - took_s, error, self.now_s, orders)
        self.carry_out(orders)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def give_up_opening(self, data: st.DataObject) -> None:
        lane = self.pick(self.attempts, data)
        if self.state.wanted_locked(lane):
            return
        self.attempts.remove(lane)
        orders: Orders[int] = Orders()
        self.state.open_given_up_locked(lane, orders)
        self.carry_out(orders)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def wake(self, data: st.DataObject) -> None:
        """Because it was unparked, because time is up, or for no reason."""
        waiter = self.pick(self.waiting, data)
        orders: Orders[int] = Orders()
        again: Any = lambda: Parker(waiter.parker.home)  # noqa: E731
        handed = waiter.member
        out_of_line = waiter.state is WaiterState.WAITING and waiter not in waiter.lane.line
        try:
            member = self.state.settle_locked(waiter, self.now_s, again, orders)
        except (PoolTimeout, PoolClosed, OSError):
            assert handed is None, "it had a connection"
            assert waiter.state is WaiterState.OVER
            del self.waiting[waiter]
        else:
            assert handed is None or member is handed
            if member is not None:
                del self.waiting[waiter]
                self.state.count_lease_locked(member, waiter.arrived_s, self.now_s)
                self.leases += 1
                self.lent.append(member)
            elif out_of_line:
                assert next(iter(waiter.lane.line)) is waiter, "it lost its place"
                self.number += 1
                self.waiting[waiter] = -self.number
        self.carry_out(orders)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        waiter = self.pick(self.waiting, data)
        orders: Orders[int] = Orders()
        self.state.leave_locked(waiter, self.now_s, orders)
        del self.waiting[waiter]
        self.carry_out(orders)

    @precondition(lambda self: self.lent)
    @rule(data=st.data(), good=st.booleans())
    def give_back(self, data: st.DataObject, good: bool) -> None:
        member = self.pick(self.lent, data)
        self.lent.remove(member)
        orders: Orders[int] = Orders()
        if not good:
            member.doom("closed_broken")
        self.state.give_locked(member, self.now_s, orders)
        self.carry_out(orders)

    @rule(max_size=st.integers(1, 4))
    def resize(self, max_size: int) -> None:
        orders: Orders[int] = Orders()
        least = min(self.state.options.min_size, max_size)
        self.ceiling = max(self.ceiling, max_size)
        self.state.resize_locked(least, max_size, orders)
        self.carry_out(orders)

    @rule(what=st.sampled_from(["drain", "reap", "revoke", "suspect", "refill", "give way"]))
    def look_after(self, what: str) -> None:
        state, orders = self.state, Orders[int]()
        if what == "drain":
            state.drain_locked(orders)
        elif what == "reap":
            state.reap_locked(self.now_s, orders)
        elif what == "revoke":
            state.revoke_locked(self.now_s, orders)
        elif what == "give way":
            state.give_way_locked(self.now_s, orders)
        elif what == "suspect":
            state.suspect_locked()
        else:
            for lane in state.lanes.values():
                state.refill_locked(lane, orders)
        self.carry_out(orders)

    @precondition(lambda self: self.loops and self.state.lanes)
    @rule(data=st.data())
    def end_a_loop(self, data: st.DataObject) -> None:
        lane = self.pick(self.state.lanes.values(), data)
        orders: Orders[int] = Orders()
        for member in self.state.drop_lane_locked(lane, orders):
            member.release_permit()
            if member in self.lent:
                self.lent.remove(member)
        self.attempts = [each for each in self.attempts if each is not lane]
        self.waiting = {w: n for w, n in self.waiting.items() if w.lane is not lane}
        self.carry_out(orders)

    @precondition(lambda self: not self.state.closed and self.number > 30)
    @rule()
    def close(self) -> None:
        orders: Orders[int] = Orders()
        self.state.close_locked(orders)
        self.carry_out(orders)

    # -------------------------------------------------------------------- laws

    @invariant()
    def every_connection_is_at_one_place(self) -> None:
        state = self.state
        idle = [member for lane in state.lanes.values() for member in lane.idle]
        handed = [w.member for w in self.waiting if w.state is WaiterState.HANDED]
        places = [*idle, *handed, *self.lent]
        assert len(places) == len(set(places))
        assert set(places) == state.members
        assert [member.lent for member in self.lent] == [True] * len(self.lent)
        assert not any(member.lent for member in idle)
        assert {w for w in self.waiting if w.member} == {
            w for lane in state.lanes.values() for w in lane.handed
        }

    @invariant()
    def numbers_add_up(self) -> None:
        state, counts = self.state, self.state.counts
        assert counts["opened"] == len(state.members) + sum(counts[name] for name in CLOSED)
        assert state.opening == len(self.attempts)
        for lane in state.lanes.values():
            assert lane.opening == self.attempts.count(lane)
            assert lane.open == sum(member.lane is lane for member in state.members)
        assert state.leases == self.leases
        facts = statistics_locked(state)
        assert (facts.open, facts.idle + facts.lent) == (len(state.members), len(state.members))

    @invariant()
    def permits_taken_are_permits_given_back_or_in_use(self) -> None:
        held = [permit for permit in self.permits if permit.held]
        assert {member.permit for member in self.state.members} == set(held)

    @invariant()
    def no_more_are_open_than_may_be(self) -> None:
        now = len(self.state.members) + self.state.opening
        assert now <= self.ceiling
        self.ceiling = max(self.state.options.max_size, min(self.ceiling, now))

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        state = self.state
        most = state.options.max_size
        for lane in state.lanes.values():
            alive = [w for w in lane.line if w.deadline_s > self.now_s]
            assert not (lane.idle and alive), "a connection lies idle before a line"
            assert not lane.idle or len(state.members) <= most, "too many are kept"
            room = len(state.members) + state.opening < most
            wanted = min(1, len(lane.line)) if state.failures else len(lane.line)
            assert state.closed or not room or lane.opening >= wanted, "nobody opens one"

    @invariant()
    def the_short_way_is_open_only_if_nothing_is_to_be_asked(self) -> None:
        state = self.state
        crowded = len(state.members) > state.options.max_size
        assert not (state.simple and (crowded or len(state.lanes) > 1))

    def teardown(self) -> None:
        """However it went, afterwards all room can be used."""
        if not hasattr(self, "state") or self.state.closed:
            return
        orders: Orders[int] = Orders()
        for waiter in list(self.waiting):
            self.state.leave_locked(waiter, self.now_s, orders)
        for member in self.lent:
            self.state.give_locked(member, self.now_s, orders)
        self.waiting.clear()
        self.lent.clear()
        self.handed_before.clear()
        self.carry_out(orders)
        while self.attempts:
            orders = Orders()
            self.state.open_given_up_locked(self.attempts.pop(), orders)
            assert not orders.open
        self.state.failures = 0
        self.state.options = PoolOptions(max_size=self.state.options.max_size)
        for _ in range(self.state.options.max_size):
            self.join("a", 1000.0, False, True)
            while self.attempts:
                orders = Orders()
                self.permits.append(Permit())
                lane = self.attempts.pop()
                self.state.opened_locked(lane, 0, self.permits[-1], self.now_s, self.now_s, orders)
                self.carry_out(orders)
        ready = len(self.lent) + len(self.handed_before)
        assert ready == self.state.options.max_size, "room was lost"


class PoolsOfLoops(Pools):
    loops = True


_settings = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
Pools.TestCase.settings = _settings
PoolsOfLoops.TestCase.settings = _settings


class TestThreads(Pools.TestCase):  # type: ignore[name-defined,misc]
    """One lane."""

    pytestmark = pytest.mark.slow


class TestLoops(PoolsOfLoops.TestCase):  # type: ignore[name-defined,misc]
    """A lane for each loop."""

    pytestmark = pytest.mark.slow
