"""Connections that threads and tasks borrow, give back, wait for and lose, in every order."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.errors import PoolClosed, PoolTimeout
from lmi_runtime.pools import Connector, Pool, lease
from lmi_runtime.pools.core import Orders
from lmi_runtime.stress.oracles.linearizability import History, linearizable, model_of, recorded
from stress.scenarios.scenario import Budget, Scenario, State

__all__ = [
    "history_of_leases",
    "lease_and_close",
    "lease_and_discard",
    "lease_and_drain",
    "lease_and_resize",
    "lease_and_time_out",
    "leases_of_a_thread_and_a_task",
    "leases_of_cancelled_tasks",
    "leases_of_three_threads",
    "leases_that_open",
]

_WATCHED = tuple(
    f"lmi_runtime.pools.{module}"
    for module in ("core", "engine", "lease", "opening", "returning", "tending", "waiting")
)


class Connection:
    """Knows whether two use it at once, or one after its end."""

    def __init__(self, state: State) -> None:
        self.users = 0
        self.closed = False
        state.connections.append(self)

    def use(self) -> None:
        """Takes a moment."""
        assert not self.closed
        self.users += 1
        assert self.users == 1, "lent twice"
        self.users -= 1

    def close(self) -> None:
        """Once."""
        assert not self.closed
        self.closed = True


def _clock() -> float:
    return _sync.monotonic()


def _pool(opened: int = 1, **options: Any) -> Callable[[], State]:
    """A state with a pool in which so many connections are open."""

    def setup() -> State:
        lease._now = _clock  # the one that was there at import is not under control
        state = State()
        state.connections, state.got, state.missed = [], [], []
        connector = Connector(open=lambda: Connection(state), close=Connection.close)
        state.pool = Pool(
            connector, **{"max_size": 1, "timeout_s": math.inf, "housekeeping": False, **options}
        )
        for _ in range(opened):
            _open(state)
        return state

    return setup


def _open(state: State) -> None:
    engine = state.pool._engine
    with engine.state.lock:
        engine.state._order_open_locked(engine.state.only, Orders())
    engine.opened(engine.state.only, Connection(state), None, _clock())


def _leases(state: State) -> None:
    with state.pool.lease() as connection:
        connection.use()
        state.got.append(connection)


async def _leases_as_a_task(state: State) -> None:
    async with state.pool.lease() as connection:
        connection.use()
        await asyncio.sleep(0)
        connection.use()
        state.got.append(connection)


def _all_is_back(state: State) -> None:
    """Nothing is lent, nobody waits, and what is not idle has been closed."""
    facts = state.pool.statistics()
    assert (facts.lent, facts.waiting, facts.opening) == (0, 0, 0), facts
    core = state.pool._engine.state
    idle = [member.connection for member in core.only.idle]
    assert [c for c in state.connections if not c.closed] == idle, facts
    assert not core.closing
    assert facts.opened - facts.open == sum(c.closed for c in state.connections)
    assert facts.leases == len(state.got), facts


def _all_were_served(count: int) -> Callable[[State], None]:
    def invariant(state: State) -> None:
        _all_is_back(state)
        assert len(state.got) == count

    return invariant


def leases_of_three_threads() -> Scenario:
    """Three threads, one connection: each gets it, one at a time."""
    return Scenario(_pool(), (_leases,) * 3, _all_were_served(3), _WATCHED)


def leases_that_open() -> Scenario:
    """Two threads and no connection yet: it is opened, and nobody is forgotten."""
    return Scenario(
        _pool(opened=0), (_leases,) * 2, _all_were_served(2), _WATCHED, Budget(preemptions=1)
    )


def leases_of_a_thread_and_a_task() -> Scenario:
    """Threads and tasks wait for one connection, and hand it to each other."""
    return Scenario(
        _pool(), (_leases, _leases_as_a_task, _leases_as_a_task), _all_were_served(3), _WATCHED
    )


def leases_of_cancelled_tasks() -> Scenario:
    """Tasks cancelled wherever they wait, also while handed: the thread gets its connection."""

    def the_thread_was_served(state: State) -> None:
        facts = state.pool.statistics()
        assert (facts.lent, facts.waiting, facts.opening) == (0, 0, 0), facts
        assert state.served == 1

    def serves(state: State) -> None:
        _leases(state)
        state.served = 1

    return Scenario(
        _pool(),
        (serves, _leases_as_a_task, _leases_as_a_task),
        the_thread_was_served,
        _WATCHED,
        Budget(preemptions=1),
        cancels=True,
    )


def _leases_if_it_may(state: State) -> None:
    try:
        _leases(state)
    except (PoolClosed, PoolTimeout) as error:
        state.missed.append(error)


def lease_and_close() -> Scenario:
    """Close while one has the connection and one waits: whoever waits hears, all is closed."""

    def closes(state: State) -> None:
        state.pool.close(math.inf)
        state.left = [c for c in state.connections if not c.closed]

    def all_closed(state: State) -> None:
        _all_is_back(state)
        assert all(connection.closed for connection in state.connections)
        assert len(state.got) + len(state.missed) == 2
        assert state.left == [], "close() came back too early"

    return Scenario(_pool(), (_leases_if_it_may, _leases_if_it_may, closes), all_closed, _WATCHED)


def lease_and_time_out() -> Scenario:
    """Time is up while the connection comes back: it is used, or it is there for the next."""

    def setup() -> State:
        state = _pool()()
        state.held = state.pool.lease()
        state.got.append(state.held.acquire())
        return state

    def waits(state: State) -> None:
        try:
            with state.pool.lease(timeout_s=1.0) as connection:
                connection.use()
                state.got.append(connection)
        except PoolTimeout as error:
            state.missed.append(error)

    def gives(state: State) -> None:
        state.held.release()

    def nothing_is_lost(state: State) -> None:
        _all_is_back(state)
        assert len(state.got) + len(state.missed) == 2
        assert state.pool.statistics().idle == 1

    return Scenario(setup, (gives, waits), nothing_is_lost, _WATCHED)


def lease_and_resize() -> Scenario:
    """Shrinking while two come back leaves one, and whoever waits gets it."""

    def shrinks(state: State) -> None:
        state.pool.resize(max_size=1)

    def one_is_left(state: State) -> None:
        _all_is_back(state)
        assert state.pool.statistics().idle == 1
        assert len(state.got) == 2

    return Scenario(_pool(opened=2, max_size=2), (_leases, _leases, shrinks), one_is_left, _WATCHED)


def lease_and_drain() -> Scenario:
    """Draining while one is lent and one waits: both are served, the old connection goes."""

    def drains(state: State) -> None:
        old = state.connections[0]
        state.pool.drain()
        state.old = old

    def old_is_gone(state: State) -> None:
        _all_is_back(state)
        assert state.old.closed
        assert len(state.got) == 2

    return Scenario(
        _pool(), (_leases, _leases, drains), old_is_gone, _WATCHED, Budget(preemptions=1)
    )


def lease_and_discard() -> Scenario:
    """What is discarded is closed and replaced for whoever waits."""

    def discards(state: State) -> None:
        borrowed = state.pool.lease()
        connection = borrowed.acquire()
        connection.use()
        state.got.append(connection)
        borrowed.discard()
        borrowed.release()

    return Scenario(
        _pool(), (_leases, discards), _all_were_served(2), _WATCHED, Budget(preemptions=1)
    )


class Slots:
    """The pool as a number of things to take and to give."""

    def __init__(self, pool: Pool[Connection]) -> None:
        self._pool = pool
        self._taken: list[Any] = []

    def take(self) -> bool:
        """Whether one was free."""
        borrowed = self._pool.lease(timeout_s=0.0)
        try:
            borrowed.acquire()
        except PoolTimeout:
            return False
        self._taken.append(borrowed)
        return True

    def give(self) -> bool:
        """Whether there was one to give."""
        try:
            borrowed = self._taken.pop()
        except IndexError:
            return False
        borrowed.release()
        return True


class Counter:
    """What that comes to for those who do it one at a time."""

    free = 1

    def take(self) -> bool:
        """See `Slots`."""
        had, self.free = self.free > 0, max(0, self.free - 1)
        return had

    def give(self) -> bool:
        """See `Slots`."""
        could, self.free = self.free < 1, 1
        return could


def history_of_leases() -> Scenario:
    """There is always an order, one call after the other, that explains who got one and who not."""

    def setup() -> State:
        state = _pool()()
        state.history = History()
        state.slots = recorded(Slots(state.pool), state.history, ["take", "give"])
        return state

    def borrows(state: State) -> None:
        if state.slots.take():
            state.slots.give()

    def borrows_twice(state: State) -> None:
        for _ in range(2):
            if state.slots.take():
                state.slots.give()

    def explained(state: State) -> None:
        answer = linearizable(state.history.operations, model_of(Counter))
        assert answer.ok or answer.given_up, answer.sentence

    return Scenario(setup, (borrows, borrows_twice), explained, _WATCHED)
