"""A pool's state alone: the interleavings that matter, written down as sequences of its steps."""

from __future__ import annotations

from typing import Any

import pytest

from lmi_runtime.errors import PoolClosed, PoolOverloaded, PoolTimeout
from lmi_runtime.pools.core import Orders, PoolState
from lmi_runtime.pools.members import Lane, Member, Waiter, WaiterState
from lmi_runtime.pools.policy import PoolOptions

Room = PoolState[str]
FAR = 100.0


class Parker:
    """Wakes nobody; `home` says whose it is."""

    def __init__(self, home: object = None) -> None:
        self.home = home

    def unpark(self) -> bool:
        return True


class Permit:
    def release(self) -> None:
        """Nobody counts it."""


class Table:
    """A pool's state, with the outside world played by the test."""

    def __init__(self, *, loops: bool = False, **options: Any) -> None:
        options.setdefault("max_size", 2)
        options.setdefault("max_lifetime_s", None)
        self.state: Room = PoolState("p", PoolOptions(**options), lanes_by_loop=loops)
        self.now_s = 0.0
        self.orders: Orders[str] = Orders()
        self.opened = 0

    def lane(self, home: str | None = None) -> Lane[str]:
        return self.state.only or self.state.lane_of_locked(home)

    def join(
        self, home: str | None = None, deadline_s: float = FAR, *, first: bool = False
    ) -> Waiter[str]:
        parker: Any = Parker(home)
        return self.state.join_locked(
            self.lane(home), parker, self.now_s, deadline_s, self.orders, first=first
        )

    def open(self, home: str | None = None) -> str:
        """One of the openings that were ordered succeeds."""
        lane = self.lane(home)
        self.orders.open.remove(lane)
        self.opened += 1
        name = f"c{self.opened}"
        self.state.opened_locked(lane, name, None, self.now_s, self.now_s, self.orders)
        return name

    def fail(self, home: str | None = None, began_s: float | None = None) -> OSError:
        lane = self.lane(home)
        self.orders.open.remove(lane)
        error = OSError("refused")
        began_s = self.now_s if began_s is None else began_s
        self.state.open_failed_locked(lane, began_s, error, self.now_s, self.orders)
        return error

    def settle(self, waiter: Waiter[str]) -> Member[str] | None:
        again: Any = lambda: Parker(waiter.parker.home)  # noqa: E731
        member = self.state.settle_locked(waiter, self.now_s, again, self.orders)
        if member is not None:
            self.state.count_lease_locked(member, waiter.arrived_s, self.now_s)
        return member

    def leave(self, waiter: Waiter[str]) -> None:
        self.state.leave_locked(waiter, self.now_s, self.orders)

    def give(self, member: Member[str]) -> None:
        self.state.give_locked(member, self.now_s, self.orders)

    def lent(self, home: str | None = None) -> Member[str]:
        """A connection that somebody has borrowed."""
        waiter = self.join(home)
        self.open(home)
        member = self.settle(waiter)
        assert member is not None
        return member

    def woken(self) -> list[Waiter[str]]:
        woken, self.orders.wake = self.orders.wake, []
        return woken

    def closed(self) -> list[str]:
        closed, self.orders.close = self.orders.close, []
        self.state.closing.difference_update(closed)
        return [member.connection for member in closed]


# ------------------------------------------------------------------ one lane


def test_a_connection_goes_to_whoever_came_first() -> None:
    table = Table(max_size=1)
    member = table.lent()
    waiters = [table.join() for _ in range(4)]

    served = []
    for _ in waiters:
        table.give(member)
        (woken,) = table.woken()[-1:]
        served.append(woken)
        assert table.settle(woken) is member

    assert served == waiters


def test_as_many_are_opened_side_by_side_as_wait_and_no_more_than_may_be() -> None:
    table = Table(max_size=3)

    for _ in range(5):
        table.join()

    assert len(table.orders.open) == table.state.opening == 3


def test_whoever_is_cancelled_while_handed_gives_it_to_the_next() -> None:
    table = Table(max_size=1)
    member = table.lent()
    first, second = table.join(), table.join()
    table.give(member)
    assert first.state is WaiterState.HANDED

    table.leave(first)

    assert second.member is member
    assert table.settle(second) is member
    assert table.state.counts["cancelled"] == 1


def test_a_hand_off_before_the_time_out_is_seen_wins() -> None:
    table = Table(max_size=1)
    member = table.lent()
    waiter = table.join(deadline_s=5.0)
    table.now_s = 4.9
    table.give(member)

    table.now_s = 5.1

    assert table.settle(waiter) is member


def test_a_time_out_before_the_hand_off_leaves_it_to_others() -> None:
    table = Table(max_size=1)
    member = table.lent()
    late, patient = table.join(deadline_s=5.0), table.join()
    table.now_s = 5.0
    with pytest.raises(PoolTimeout):
        table.settle(late)

    table.give(member)

    assert table.settle(patient) is member


def test_nothing_is_handed_to_whoever_is_past_the_deadline_but_has_not_noticed() -> None:
    table = Table(max_size=1)
    member = table.lent()
    late = table.join(deadline_s=5.0)
    table.now_s = 6.0

    table.give(member)

    assert list(table.lane().idle) == [member]
    with pytest.raises(PoolTimeout):
        table.settle(late)


def test_an_opener_that_fails_answers_those_who_waited_when_it_began() -> None:
    table = Table(max_size=1)
    waiter = table.join()
    table.now_s = 1.0
    later = table.join()

    error = table.fail(began_s=0.5)

    with pytest.raises(OSError, match="refused") as raised:
        table.settle(waiter)
    assert raised.value is error
    assert later.state is WaiterState.WAITING
    assert table.state.opening == 1, "the other is tried for again"


def test_while_another_is_open_a_failure_is_nobodys_answer_but_the_cause_of_a_time_out() -> None:
    table = Table(max_size=2)
    table.lent()
    waiter = table.join(deadline_s=5.0)
    error = table.fail()
    assert waiter.state is WaiterState.WAITING

    table.now_s = 5.0
    with pytest.raises(PoolTimeout) as raised:
        table.settle(waiter)

    assert raised.value.__cause__ is error


def test_after_a_failure_one_attempt_is_made_at_a_time() -> None:
    table = Table(max_size=4)
    table.lent()
    for _ in range(3):
        table.join()
    assert len(table.orders.open) == 3
    table.fail()
    table.fail()
    assert len(table.orders.open) == 1
    table.fail()
    assert len(table.orders.open) == 1
    table.open()
    assert len(table.orders.open) == 2


def test_attempts_that_fail_side_by_side_failed_once() -> None:
    """Or one bad moment would keep the next attempt waiting like a long row of them."""
    table = Table(max_size=4)
    for _ in range(4):
        table.join()
    table.now_s = 1.0

    for _ in range(4):
        table.fail(began_s=0.5)

    assert table.state.failures == 1
    assert table.state.retry_at_s <= 1.06


def test_what_an_error_holds_is_let_go_of_once_a_connection_opens() -> None:
    table = Table(max_size=1)
    table.join()
    table.fail()
    table.join()
    table.open()

    assert table.state.last_error is None


def test_a_crowd_is_refused_and_those_past_their_deadline_are_no_crowd() -> None:
    table = Table(max_size=1, max_waiting=1)
    table.lent()
    table.join(deadline_s=1.0)
    with pytest.raises(PoolOverloaded):
        table.join()

    table.now_s = 2.0
    table.join()

    assert table.state.counts["refused"] == 1


def test_a_broken_connection_is_replaced_for_those_who_wait() -> None:
    table = Table(max_size=1)
    member = table.lent()
    waiter = table.join()
    member.doom("closed_broken")

    table.give(member)

    assert table.closed() == ["c1"]
    table.open()
    got = table.settle(waiter)
    assert got is not None and got.connection == "c2"


def test_whoever_found_it_broken_is_first_in_line_again() -> None:
    table = Table(max_size=1)
    table.lent()
    others = [table.join() for _ in range(2)]

    again = table.join(first=True)

    assert list(table.lane().line) == [again, *others]


def test_from_the_moment_it_is_taken_a_lease_lasts() -> None:
    """Or what lay idle for long would be told of as lent for long while it is looked at."""
    table = Table(max_size=1, leak_after_s=10.0)
    member = table.lent()
    table.give(member)
    table.lane().idle.pop()
    table.give(member)
    holder = table.lane().idle.pop()
    waiter = table.join()
    table.now_s = 50.0
    table.give(holder)

    state = table.state
    assert state.settle_locked(waiter, table.now_s, Parker, table.orders) is member  # type: ignore[arg-type]

    assert state.leaks_locked(table.now_s) == []


def test_a_revoked_connection_serves_the_next_and_its_waiter_keeps_the_place() -> None:
    table = Table(max_size=1, acknowledge_s=1.0)
    member = table.lent()
    held_up, second, third = table.join("loop"), table.join("loop"), table.join("loop")
    table.give(member)
    table.now_s = 1.5

    table.state.revoke_locked(table.now_s, table.orders)

    assert second.member is member
    assert table.settle(held_up) is None
    assert list(table.lane().line) == [held_up, third]
    assert table.settle(second) is member
    table.give(member)
    assert table.settle(held_up) is member


def test_nothing_is_revoked_from_threads_or_too_early() -> None:
    table = Table(max_size=1, acknowledge_s=1.0)
    member = table.lent()
    thread = table.join(None)
    table.give(member)
    table.now_s = 9.0

    table.state.revoke_locked(table.now_s, table.orders)

    assert table.settle(thread) is member


def test_a_revoked_waiter_takes_what_lies_there() -> None:
    table = Table(max_size=1, acknowledge_s=1.0)
    member = table.lent()
    held_up = table.join("loop")
    table.give(member)
    table.now_s = 1.5
    table.state.revoke_locked(table.now_s, table.orders)
    assert list(table.lane().idle) == [member]

    assert table.settle(held_up) is member
    assert not table.lane().idle


def test_a_waiter_that_was_out_of_line_hears_that_the_pool_was_closed() -> None:
    """Nobody can answer it then: it would wait until its deadline."""
    table = Table(max_size=1, acknowledge_s=1.0)
    member = table.lent()
    held_up = table.join("loop")
    table.give(member)
    table.now_s = 1.5
    table.state.revoke_locked(table.now_s, table.orders)

    table.state.close_locked(table.orders)

    with pytest.raises(PoolClosed):
        table.settle(held_up)
    assert not table.lane().line


# ------------------------------------------------- closing, draining, resizing


def test_closing_answers_all_and_closes_what_comes_back() -> None:
    table = Table(max_size=2)
    member = table.lent()
    idle = table.lent()
    table.give(idle)
    waiter = table.join()  # gets the idle one next; nobody takes it here
    table.state.close_locked(table.orders)

    assert table.closed() == ["c2"]
    with pytest.raises(PoolClosed):
        table.settle(waiter)
    with pytest.raises(PoolClosed):
        table.join()
    table.give(member)
    assert table.closed() == ["c1"]
    assert table.state.members == set()


def test_what_was_handed_before_the_pool_closed_is_used_and_then_closed() -> None:
    table = Table(max_size=1)
    member = table.lent()
    waiter = table.join()
    table.give(member)
    table.state.close_locked(table.orders)

    assert table.settle(waiter) is member
    table.give(member)
    assert table.closed() == ["c1"]


def test_what_opens_after_the_end_is_closed() -> None:
    table = Table(max_size=1)
    table.join()
    table.state.close_locked(table.orders)

    table.open()

    assert table.closed() == ["c1"]
    assert table.state.opening == 0


def test_what_is_let_go_of_counts_as_closing_at_once() -> None:
    """Or somebody who waits for the end would be told too early."""
    table = Table(max_size=1)
    member = table.lent()
    table.state.close_locked(table.orders)

    table.give(member)

    assert table.state.closing == {member}


def test_shrinking_closes_idle_ones_now_and_lent_ones_when_they_come_back() -> None:
    table = Table(max_size=3)
    members = [table.lent() for _ in range(3)]
    table.give(members[0])

    table.state.resize_locked(0, 1, table.orders)

    assert table.closed() == ["c1"]
    table.give(members[1])
    table.give(members[2])
    assert len(table.state.members) == 1


def test_growing_serves_those_who_wait() -> None:
    table = Table(max_size=1)
    table.lent()
    table.join()

    table.state.resize_locked(0, 2, table.orders)

    assert len(table.orders.open) == 1


def test_what_gives_way_is_the_idle_one_or_the_oldest_that_was_of_use() -> None:
    table = Table(max_size=2, tenure_s=10.0)
    idle, busy = table.lent(), table.lent()
    table.give(idle)
    opened_s = busy.opened_s
    table.state.give_way_locked(opened_s, table.orders)
    assert table.closed() == ["c1"]

    table.state.give_way_locked(opened_s + 9.0, table.orders)
    assert busy.doomed is None
    table.state.give_way_locked(opened_s + 10.0, table.orders)
    assert table.closed() == []
    table.give(busy)

    assert table.closed() == ["c2"]


def test_idle_ones_are_reaped_by_age_and_by_rest_but_for_the_least_that_stays() -> None:
    table = Table(max_size=3, min_size=1, max_idle_s=10.0)
    members = [table.lent() for _ in range(3)]
    members[2].expires_s = 5.0
    for member in members:
        table.give(member)
    table.now_s = 20.0

    table.state.reap_locked(table.now_s, table.orders)

    counts = table.state.counts
    assert (counts["closed_idle"], counts["closed_expired"]) == (2, 1) or (
        counts["closed_idle"],
        counts["closed_expired"],
    ) == (1, 1)
    assert len(table.state.members) <= 1


def test_a_suspect_is_not_fresh_when_it_comes_back() -> None:
    table = Table(max_size=1)
    member = table.lent()
    table.state.suspect_locked()

    table.give(member)

    assert member.fresh_until_s <= table.now_s
    assert member.suspect


# --------------------------------------------------------------- several loops


def test_the_room_a_broken_connection_leaves_is_for_whoever_waits_on_any_loop() -> None:
    table = Table(loops=True, max_size=1)
    member = table.lent("a")
    table.join("b")
    assert table.orders.open == []
    member.doom("closed_broken")

    table.give(member)

    assert table.orders.open == [table.lane("b")]


def test_the_room_a_failed_attempt_leaves_is_for_whoever_waits_on_any_loop() -> None:
    table = Table(loops=True, max_size=1)
    table.join("a")
    table.join("b")

    table.fail("a")

    assert table.orders.open == [table.lane("b")]


def test_the_room_an_attempt_that_nobody_wants_leaves_is_for_others() -> None:
    table = Table(loops=True, max_size=1)
    gone = table.join("a")
    table.join("b")
    table.leave(gone)

    table.orders.open.remove(table.lane("a"))
    table.state.open_given_up_locked(table.lane("a"), table.orders)

    assert table.orders.open == [table.lane("b")]


def test_the_room_a_dead_loop_leaves_is_for_others() -> None:
    table = Table(loops=True, max_size=1)
    table.lent("a")
    table.join("b")

    gone = table.state.drop_lane_locked(table.lane("a"), table.orders)

    assert [member.connection for member in gone] == ["c1"]
    assert table.orders.open == [table.lane("b")]


def test_what_a_dead_loop_was_closing_goes_with_it() -> None:
    """Its goodbye never ends, and its permit would never be free."""
    table = Table(loops=True, max_size=1)
    member = table.lent("a")
    member.doom("closed_broken")
    table.give(member)

    gone = table.state.drop_lane_locked(table.lane("a"), table.orders)

    assert gone == [member]
    assert not table.state.closing


def test_an_attempt_of_a_dead_loop_is_counted_out_once() -> None:
    table = Table(loops=True, max_size=1)
    table.join("a")
    lane = table.lane("a")
    table.state.drop_lane_locked(lane, table.orders)
    assert table.state.opening == 0

    table.state.open_given_up_locked(lane, table.orders)

    assert table.state.opening == 0
    assert table.state.drop_lane_locked(lane, table.orders) == []


def test_two_loops_share_though_one_of_them_never_stops_asking() -> None:
    table = Table(loops=True, max_size=2)
    members = [table.lent("a"), table.lent("a")]
    table.join("a")
    other = table.join("b")
    table.now_s = 1.0
    table.join("a")

    table.give(members[0])  # to the one of a that came before
    table.now_s = 2.0
    table.join("a")
    table.give(members[1])

    assert table.orders.open == [table.lane("b")]
    table.open("b")
    assert table.settle(other) is not None
    assert (table.lane("a").open, table.lane("b").open) == (1, 1)


def test_no_connection_is_given_up_for_a_loop_whose_own_is_on_its_way() -> None:
    table = Table(loops=True, max_size=4)
    members = [table.lent("a") for _ in range(3)]
    table.join("b")
    assert table.lane("b").opening == 1

    table.give(members[0])

    assert table.closed() == []


def test_no_connection_is_given_up_for_a_loop_that_fails_to_open_one() -> None:
    table = Table(loops=True, max_size=4)
    members = [table.lent("a") for _ in range(3)]
    for _ in range(4):
        table.join("b")
    table.fail("b")
    for _ in range(4):
        table.join("b")
    assert table.lane("b").opening == 1

    table.give(members[0])

    assert table.closed() == []


def test_an_idle_connection_of_another_loop_makes_room() -> None:
    table = Table(loops=True, max_size=1)
    table.give(table.lent("a"))

    table.join("b")

    assert table.closed() == ["c1"]
    assert table.orders.open == [table.lane("b")]
