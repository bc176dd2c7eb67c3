"""
The state of a pool, and every step it can take: under its lock, without I/O.

What has to be done outside the lock comes back as orders: whom to wake, where to open a
connection, which ones to close.

Laws, whatever happens in whatever order:

- A connection is idle, set aside for one waiter, lent to one, or gone; it changes hands once.
- Nobody waits in a lane that has an idle connection.
- Whoever came first is served first. A waiter that leaves gives back what was set aside for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from lmi_runtime import _sync
from lmi_runtime.errors import PoolClosed, PoolOverloaded
from lmi_runtime.pools.accounts import lent_locked, timeout_locked
from lmi_runtime.pools.members import Lane, Member, Waiter, WaiterState
from lmi_runtime.pools.model import Permit
from lmi_runtime.pools.policy import PoolOptions, lifetime_s, retry_after_s

__all__ = ["Orders", "PoolState"]

C = TypeVar("C")
Parker = _sync.ThreadParker | _sync.AsyncParker


class Orders(Generic[C]):
    """What to do once the lock is free. Thread safety: belongs to one call."""

    __slots__ = ("close", "open", "wake")

    def __init__(self) -> None:
        self.wake: list[Waiter[C]] = []
        self.open: list[Lane[C]] = []
        self.close: list[Member[C]] = []


class PoolState(Generic[C]):
    """
    Thread safety: functions that end in ``_locked`` need `lock`; so does every attribute.

    Args:
        name: For messages.
        options: The pool's limits.
        lanes_by_loop: Whether connections belong to the loop they were opened on.
    """

    def __init__(self, name: str, options: PoolOptions, *, lanes_by_loop: bool) -> None:
        self.lock = _sync.RLock()
        """Held by nobody twice: a finalizer that finds it held here puts off what it wants."""
        self.name = name
        self.options = options
        self.bypass_check_s = options.bypass_check_s
        self.members: set[Member[C]] = set()
        self.closing: set[Member[C]] = set()
        """No longer members, and not yet closed."""
        self.only: Lane[C] | None = None if lanes_by_loop else Lane(None)
        self.lanes: dict[_sync.Home | None, Lane[C]] = {}
        if self.only is not None:
            self.lanes[None] = self.only
        self.opening = 0
        self.simple = True
        """What comes back may be kept without asking all that `give_locked` asks."""
        self.closed = False
        self.inherited = False
        """True in a child: the connections are the parent's."""
        self.failures = 0
        """In a row."""
        self.failed_s = 0.0
        self.retry_at_s = 0.0
        self.last_error: BaseException | None = None
        self.leaky = False
        """Something leaked: from now on all of the stack is kept of each lease."""
        self.leases = 0
        self.waited = 0
        self.waited_s = 0.0
        self.opening_s = 0.0
        self.counts: Counter[str] = Counter()

    # ------------------------------------------------------------------ leases

    def lane_of_locked(self, home: _sync.Home) -> Lane[C]:
        """The lane of connections that belong to `home`."""
        lane = self.lanes.get(home)
        if lane is None:
            lane = self.lanes[home] = Lane(home)
            self._judge_locked()
        return lane

    def _judge_locked(self) -> None:
        crowded = len(self.members) > self.options.max_size
        self.simple = len(self.lanes) == 1 and not crowded

    def give_way_locked(self, now_s: float, orders: Orders[C]) -> None:
        """
        Close one connection for other processes.

        An idle one at once; a lent one, when it comes back, only if it was open for a while: to
        open one takes time, too.
        """
        for lane in self.lanes.values():
            if lane.idle:
                self.remove_locked(lane.idle.popleft(), "closed_given_up", orders)
                return
        oldest = min(self.members, key=lambda member: member.opened_s, default=None)
        if oldest is not None and now_s - oldest.opened_s >= self.options.tenure_s:
            oldest.doom("closed_given_up")

    def join_locked(
        self,
        lane: Lane[C],
        parker: Parker,
        now_s: float,
        deadline_s: float,
        orders: Orders[C],
        *,
        first: bool = False,
    ) -> Waiter[C]:
        """
        Stand in line; `first`: at its head, having been there before.

        Raises:
            PoolClosed: Nothing is lent any more.
            PoolOverloaded: As many as may wait are waiting.
        """
        if self.closed:
            raise PoolClosed(f"The pool {self.name!r} has been closed.")
        waiter = Waiter(lane, parker, now_s, deadline_s)
        if first:
            self.first_in_line_locked(waiter, orders)
            return waiter
        self._refuse_crowd_locked(now_s)
        lane.line[waiter] = None
        self.grow_locked(orders)
        return waiter

    def _refuse_crowd_locked(self, now_s: float) -> None:
        most = self.options.max_waiting
        if most is None:
            return
        waiting = sum(w.deadline_s > now_s for lane in self.lanes.values() for w in lane.line)
        # Those for whom a connection is on its way do not count as a crowd.
        room = self.options.max_size - len(self.members)
        if waiting >= most + room:
            self.counts["refused"] += 1
            raise PoolOverloaded(
                f"No more than {most} requests may wait for a connection of pool {self.name!r}; "
                f"{waiting} do. {lent_locked(self, now_s)}"
            )

    def settle_locked(
        self, waiter: Waiter[C], now_s: float, again: Callable[[], Parker], orders: Orders[C]
    ) -> Member[C] | None:
        """
        What a waiter got that woke up, or whose time is up; None to park again.

        Raises:
            PoolTimeout: Nothing, and its time is up.
            PoolClosed: The pool was closed meanwhile.
            Exception: What opening a connection raised.
        """
        lane = waiter.lane
        if waiter.state is WaiterState.HANDED:
            return self._acknowledge_locked(waiter, now_s)
        if waiter.state is WaiterState.ANSWERED:
            assert waiter.error is not None
            waiter.state = WaiterState.OVER
            # One error is the answer to many: each starts with the opener's traceback.
            raise waiter.error.with_traceback(waiter.traceback)
        if now_s >= waiter.deadline_s:
            waiter.state = WaiterState.OVER
            lane.line.pop(waiter, None)
            self.counts["timeouts"] += 1
            raise timeout_locked(self, waiter, now_s)
        if self.closed:  # while it was out of the line, where nobody could answer it
            waiter.state = WaiterState.OVER
            raise self._closed_while_waiting()
        waiter.parker = again()
        if waiter not in lane.line:
            return self._resume_locked(waiter, now_s, orders)
        return None

    def _acknowledge_locked(self, waiter: Waiter[C], now_s: float) -> Member[C]:
        member = waiter.member
        assert member is not None
        waiter.state = WaiterState.OVER
        waiter.member = None
        waiter.lane.handed.discard(waiter)
        member.lend(now_s)
        return member

    def _resume_locked(
        self, waiter: Waiter[C], now_s: float, orders: Orders[C]
    ) -> Member[C] | None:
        """Its connection went to others while its loop was held up; its place is still its own."""
        lane = waiter.lane
        if lane.idle:
            waiter.member = lane.idle.pop()
            return self._acknowledge_locked(waiter, now_s)
        self.first_in_line_locked(waiter, orders)
        return None

    def first_in_line_locked(self, waiter: Waiter[C], orders: Orders[C]) -> None:
        """Put `waiter` before all others."""
        waiter.state = WaiterState.WAITING
        waiter.lane.line[waiter] = None
        waiter.lane.line.move_to_end(waiter, last=False)
        self.grow_locked(orders)

    def count_lease_locked(self, member: Member[C], arrived_s: float | None, now_s: float) -> None:
        """`member` has been lent; `arrived_s` says since when its borrower waited, if it did."""
        member.leased_s = now_s
        self.leases += 1
        if arrived_s is not None:
            self.waited += 1
            self.waited_s += now_s - arrived_s

    def leave_locked(self, waiter: Waiter[C], now_s: float, orders: Orders[C]) -> None:
        """Stop waiting: cancelled. What was set aside goes to the next."""
        handed = waiter.state is WaiterState.HANDED
        waiter.state = WaiterState.OVER
        self.counts["cancelled"] += 1
        waiter.lane.line.pop(waiter, None)
        if handed:
            assert waiter.member is not None
            waiter.lane.handed.discard(waiter)
            member, waiter.member = waiter.member, None
            self.give_locked(member, now_s, orders)

    def give_locked(self, member: Member[C], now_s: float, orders: Orders[C]) -> None:
        """A connection is free: set it aside for the first in line, keep it, or let it go."""
        member.lent = False
        member.request = None
        reason = self._reason_to_close_locked(member, now_s)
        if reason is not None:
            self.remove_locked(member, reason, orders)
            return
        member.returned_s = now_s
        member.fresh_until_s = (
            now_s if member.suspect else min(now_s + self.options.bypass_check_s, member.expires_s)
        )
        lane = member.lane
        if (hungry := self._hungry_locked(lane, now_s)) is not None:
            self._let_go_locked(member, "closed_other", orders)
            if self._room_locked(hungry, orders):
                self._order_open_locked(hungry, orders)
            self.grow_locked(orders)
        elif (waiter := self._next_locked(lane, now_s)) is not None:
            self._hand_locked(member, waiter, now_s, orders)
        else:
            lane.idle.append(member)

    def _reason_to_close_locked(self, member: Member[C], now_s: float) -> str | None:
        if member.doomed is not None:
            return member.doomed
        if self.closed or len(self.members) > self.options.max_size:
            return "closed_other"
        if now_s >= member.expires_s:
            return "closed_expired"
        return None

    def _next_locked(self, lane: Lane[C], now_s: float) -> Waiter[C] | None:
        while lane.line:
            waiter, _ = lane.line.popitem(last=False)
            if waiter.deadline_s > now_s:
                return waiter
            # Its own clock wakes it; a connection would reach it too late to be of use.
        return None

    def _hand_locked(
        self, member: Member[C], waiter: Waiter[C], now_s: float, orders: Orders[C]
    ) -> None:
        waiter.state = WaiterState.HANDED
        waiter.member = member
        waiter.handed_s = now_s
        waiter.lane.handed.add(waiter)
        orders.wake.append(waiter)

    def unreachable_locked(self, waiter: Waiter[C], now_s: float, orders: Orders[C]) -> None:
        """Its loop is closed: it will never take what was set aside for it."""
        if waiter.state is WaiterState.HANDED:
            self.leave_locked(waiter, now_s, orders)

    def revoke_locked(self, now_s: float, orders: Orders[C]) -> None:
        """Take back what was set aside for tasks whose loop has not run for too long."""
        late_s = now_s - self.options.acknowledge_s
        for lane in self.lanes.values():
            for waiter in [w for w in lane.handed if w.handed_s < late_s]:
                if waiter.parker.home is None:
                    continue  # a thread wakes up, sooner or later
                lane.handed.discard(waiter)
                waiter.state = WaiterState.WAITING
                member, waiter.member = waiter.member, None
                assert member is not None
                self.give_locked(member, now_s, orders)

    # ----------------------------------------------------------------- opening

    def grow_locked(self, orders: Orders[C]) -> None:
        """Have as many connections opened, side by side, as the lines and the limit allow."""
        if self.closed:
            return
        for lane in self._in_turn_locked():
            missing = len(lane.line) - lane.opening
            if self.failures:
                missing = min(missing, 1 - lane.opening)
            while missing > 0 and self._room_locked(lane, orders):
                self._order_open_locked(lane, orders)
                missing -= 1

    def _in_turn_locked(self) -> list[Lane[C]]:
        """The lanes in which somebody waits; where the wait began first comes first."""
        waiting = [lane for lane in self.lanes.values() if lane.line]
        if len(waiting) > 1:
            waiting.sort(key=lambda lane: next(iter(lane.line)).arrived_s)
        return waiting

    def _order_open_locked(self, lane: Lane[C], orders: Orders[C]) -> None:
        lane.opening += 1
        self.opening += 1
        orders.open.append(lane)

    def refill_locked(self, lane: Lane[C], orders: Orders[C]) -> None:
        """Have `min_size` kept."""
        while not self.closed and len(self.members) + self.opening < self.options.min_size:
            if self.failures and self.opening:
                return
            self._order_open_locked(lane, orders)

    def _room_locked(self, lane: Lane[C], orders: Orders[C]) -> bool:
        if len(self.members) + self.opening < self.options.max_size:
            return True
        for other in self.lanes.values():
            if other is not lane and other.idle:
                self._let_go_locked(other.idle.popleft(), "closed_other", orders)
                return True
        return False

    def _hungry_locked(self, lane: Lane[C], now_s: float) -> Lane[C] | None:
        """Another loop that has less than its share, and whose request came before ours."""
        if len(self.lanes) == 1:
            return None
        waiting = self._in_turn_locked()
        before = waiting[: waiting.index(lane)] if lane in waiting else waiting
        share = max(1, self.options.max_size // len({*waiting, lane}))
        for other in before:
            on_its_way = other.opening if not self.failures else other.opening * len(other.line)
            if other.open + other.opening < share and on_its_way < sum(
                waiter.deadline_s > now_s for waiter in other.line
            ):
                return other
        return None

    def wanted_locked(self, lane: Lane[C]) -> bool:
        """Whether a connection that is still to be opened has anybody to go to."""
        if self.closed or self.inherited:
            return False
        return bool(lane.line) or len(self.members) < self.options.min_size

    def opened_locked(
        self,
        lane: Lane[C],
        connection: C,
        permit: Permit | None,
        began_s: float,
        now_s: float,
        orders: Orders[C],
    ) -> None:
        """A connection has been opened for `lane`."""
        self._attempt_over_locked(lane)
        self.failures = 0
        self.last_error = None
        self.counts["opened"] += 1
        self.opening_s += now_s - began_s
        expires_s = now_s + lifetime_s(self.options.max_lifetime_s)
        member = Member(connection, lane, permit, now_s, expires_s)
        if self.lanes.get(lane.home) is not lane:
            member.doom("closed_other")
        self.members.add(member)
        self._judge_locked()
        lane.open += 1
        self.give_locked(member, now_s, orders)
        self.grow_locked(orders)

    def open_failed_locked(
        self,
        lane: Lane[C],
        began_s: float,
        error: BaseException,
        now_s: float,
        orders: Orders[C],
        *,
        again: bool = True,
    ) -> None:
        """
        An attempt failed; `again`: the next may be ordered at once.

        While there are other connections, or attempts, those in line go on waiting for them.
        Otherwise it is the answer to all who were waiting when it began.
        """
        self._attempt_over_locked(lane)
        if began_s >= self.failed_s:  # those that fail side by side failed once
            self.failures += 1
        self.failed_s = now_s
        self.counts["open_failures"] += 1
        self.last_error = error
        self.retry_at_s = now_s + retry_after_s(self.failures)
        if not lane.open and not lane.opening:
            self._answer_locked([w for w in lane.line if w.arrived_s <= began_s], error, orders)
        if again:
            self.grow_locked(orders)

    def open_given_up_locked(self, lane: Lane[C], orders: Orders[C]) -> None:
        """An attempt ended because nobody wanted it any more."""
        self._attempt_over_locked(lane)
        self.grow_locked(orders)

    def _attempt_over_locked(self, lane: Lane[C]) -> None:
        if self.lanes.get(lane.home) is not lane:
            return  # it was counted out with its loop
        lane.opening -= 1
        self.opening -= 1

    def _answer_locked(
        self, waiters: list[Waiter[C]], error: BaseException, orders: Orders[C]
    ) -> None:
        for waiter in waiters:
            waiter.lane.line.pop(waiter, None)
            waiter.state = WaiterState.ANSWERED
            waiter.error = error
            waiter.traceback = error.__traceback__
            orders.wake.append(waiter)

    # ----------------------------------------------------------------- closing

    def remove_locked(self, member: Member[C], counter: str, orders: Orders[C]) -> None:
        """The pool knows it no more; it is to be closed."""
        self._let_go_locked(member, counter, orders)
        self.grow_locked(orders)

    def _let_go_locked(self, member: Member[C], counter: str, orders: Orders[C]) -> None:
        if member not in self.members:
            return
        self.members.discard(member)
        self.closing.add(member)
        member.lane.open -= 1
        self.counts[counter] += 1
        orders.close.append(member)
        self._judge_locked()

    def clear_idle_locked(self, counter: str, orders: Orders[C]) -> None:
        """Close what nobody uses."""
        for lane in self.lanes.values():
            while lane.idle:
                self._let_go_locked(lane.idle.popleft(), counter, orders)
        self.grow_locked(orders)

    def drain_locked(self, orders: Orders[C]) -> None:
        """Replace every connection: the idle ones now, the lent ones when they come back."""
        for member in self.members:
            member.doom("closed_other")
        self.clear_idle_locked("closed_other", orders)

    def close_locked(self, orders: Orders[C]) -> None:
        """Lend nothing any more."""
        self.closed = True
        waiting = [w for lane in self.lanes.values() for w in lane.line]
        self._answer_locked(waiting, self._closed_while_waiting(), orders)
        self.drain_locked(orders)

    def _closed_while_waiting(self) -> PoolClosed:
        return PoolClosed(f"The pool {self.name!r} was closed while this request waited.")

    def resize_locked(self, min_size: int, max_size: int, orders: Orders[C]) -> None:
        """
        Change the limits; what is too much is closed, idle ones first.

        Raises:
            ConfigurationError: They cannot be kept; nothing has changed.
        """
        self.options = self.options.__replace__(min_size=min_size, max_size=max_size)
        for lane in self.lanes.values():
            while lane.idle and len(self.members) > max_size:
                self._let_go_locked(lane.idle.popleft(), "closed_other", orders)
        self._judge_locked()
        self.grow_locked(orders)

    def reap_locked(self, now_s: float, orders: Orders[C]) -> None:
        """Close idle connections that are too old or have been idle for too long."""
        longest_s = self.options.max_idle_s
        for lane in self.lanes.values():
            for member in list(lane.idle):
                if now_s >= member.expires_s:
                    reason = "closed_expired"
                elif (
                    longest_s is not None
                    and now_s - member.returned_s >= longest_s
                    and len(self.members) > self.options.min_size
                ):
                    reason = "closed_idle"
                else:
                    continue
                lane.idle.remove(member)
                self._let_go_locked(member, reason, orders)
        self.grow_locked(orders)

    def suspect_locked(self) -> None:
        """No connection is to be lent again before somebody has looked at it."""
        for member in self.members:
            member.distrust()

    def drop_lane_locked(self, lane: Lane[C], orders: Orders[C]) -> list[Member[C]]:
        """Forget a loop that is closed; returns the connections that were opened on it."""
        if self.lanes.get(lane.home) is not lane:
            return []
        del self.lanes[lane.home]
        self._judge_locked()
        self.opening -= lane.opening
        lane.opening = 0
        lane.idle.clear()
        lane.line.clear()
        lane.handed.clear()
        gone = [member for member in self.members if member.lane is lane]
        self.members.difference_update(gone)
        lane.open = 0
        self.counts["closed_other"] += len(gone)
        unclosed = [member for member in self.closing if member.lane is lane]
        self.closing.difference_update(unclosed)
        self.grow_locked(orders)
        return gone + unclosed

    # ------------------------------------------------------------------- facts

    def leaks_locked(self, now_s: float) -> list[Member[C]]:
        """Leases that last too long and have not been told of."""
        longest_s = self.options.leak_after_s
        if longest_s is None:
            return []
        leaks = [
            member
            for member in self.members
            if member.lent
            and now_s - member.leased_s >= longest_s
            and member.reported_s != member.leased_s
        ]
        for member in leaks:
            self.count_leak_locked(member)
        return leaks

    def count_leak_locked(self, member: Member[C]) -> None:
        """A lease was dropped, or lasts too long; one that is both counts once."""
        self.leaky = True
        if member.reported_s != member.leased_s:
            member.reported_s = member.leased_s
            self.counts["leaks"] += 1
