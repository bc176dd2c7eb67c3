"""What a pool needs from time to time, whether it is used or not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lmi_runtime import _sync
from lmi_runtime.pools.core import Orders
from lmi_runtime.pools.leaks import lent_at, who
from lmi_runtime.pools.members import Member

if TYPE_CHECKING:
    from lmi_runtime.pools.engine import Engine
    from lmi_runtime.pools.keeper import Keeper

__all__ = [
    "Attendant",
    "drop",
    "put_off",
    "see_to_dropped",
    "see_to_put_off",
]

C = TypeVar("C")

_log = logging.getLogger("lmi_runtime.pools")

_LEAP_S = 5.0
_PAUSE_S = 1.0
_PAUSE_WITH_BUDGET_S = 0.02


class Attendant(Generic[C]):
    """
    Looks after one pool.

    Thread safety: keeper's thread only.
    """

    def __init__(self, engine: Engine[C]) -> None:
        self._engine = engine
        self._offset_s = _sync.wall_time() - _sync.monotonic()

    def tend(self, now_s: float) -> float | None:
        """Do what is due; returns when to come again, in seconds, or None for never."""
        engine = self._engine
        state = engine.state
        orders: Orders[C] = Orders()
        see_to_dropped(engine.keeper)
        see_to_put_off(engine.keeper)
        self._drop_dead_lanes()
        give_way = engine.has_to_give_way()
        with state.lock:
            if self._clock_leapt(now_s):
                state.suspect_locked()
            state.revoke_locked(now_s, orders)
            state.reap_locked(now_s, orders)
            if give_way:
                state.give_way_locked(now_s, orders)
            for lane in state.lanes.values():
                state.refill_locked(lane, orders)
            state.grow_locked(orders)
            leaks = state.leaks_locked(now_s)
            waiting = any(lane.line for lane in state.lanes.values())
        for member in leaks:
            _tell(engine, member, f"has been lent for {now_s - member.leased_s:.3g} s")
        engine.carry_out(orders)
        if not waiting and engine.is_quiet():
            return None
        return _PAUSE_S if engine.budget is None else _PAUSE_WITH_BUDGET_S

    def _clock_leapt(self, now_s: float) -> bool:
        """
        Whether the clocks moved against each other: this process was stopped, or restored.

        Its connections may have been closed by the other end long ago, whatever the monotonic
        clock says of when they were used last.
        """
        before_s = self._offset_s
        self._offset_s = _sync.wall_time() - now_s
        return abs(self._offset_s - before_s) > _LEAP_S

    def _drop_dead_lanes(self) -> None:
        engine = self._engine
        with engine.state.lock:
            lanes = [lane for lane in engine.state.lanes.values() if lane.home is not None]
        for lane in lanes:
            if not _sync.is_alive(lane.home):
                engine.drop_lane(lane)


def drop(engine: Engine[Any], member: Member[Any]) -> None:
    """A lease was forgotten while it had a connection. For finalizers: takes no lock."""
    engine.keeper.dropped.append((engine, member))
    if engine.tended:
        engine.keeper.poke()


def see_to_dropped(keeper: Keeper) -> None:
    """Replace the connections of forgotten leases, and tell who forgot them."""
    while keeper.dropped:
        try:
            engine, member = keeper.dropped.popleft()
        except IndexError:  # another thread was faster
            return
        if not engine.state.inherited:
            with engine.state.lock:
                engine.state.count_leak_locked(member)
            _tell(engine, member, "was never returned: its lease was dropped")
            engine.give(member, good=False)


def put_off(engine: Engine[Any], step: Callable[[], None]) -> None:
    """
    Do `step` when its thread does not hold the pool's lock any more.

    Python finalizes where it likes: whatever a connection is given back by may run in the middle
    of a step of the same pool, on the same thread.
    """
    engine.keeper.put_off.append(step)
    if engine.tended:
        engine.keeper.poke()


def see_to_put_off(keeper: Keeper) -> None:
    """Do what finalizers could not."""
    for _ in range(len(keeper.put_off)):
        try:
            step = keeper.put_off.popleft()
        except IndexError:  # another thread was faster
            return
        step()


def _tell(engine: Engine[C], member: Member[C], what: str) -> None:
    request, place = member.request, member.where
    _log.warning(
        "Pool %r: a connection %s (%s). It was taken at:\n%s",
        engine.name,
        what,
        who(request, place),
        lent_at(place),
    )
