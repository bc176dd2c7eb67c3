"""What a pool says of itself: counts, and words. Its lock is held throughout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmi_runtime.errors import PoolTimeout
from lmi_runtime.pools.leaks import who
from lmi_runtime.pools.members import Member, Waiter
from lmi_runtime.pools.model import PoolStatistics

if TYPE_CHECKING:
    from lmi_runtime.pools.core import PoolState

__all__ = ["lent_locked", "longest_lent_first_locked", "statistics_locked", "timeout_locked"]


def statistics_locked(state: PoolState[Any]) -> PoolStatistics:
    """Everything the pool counts."""
    counts = state.counts
    idle = sum(len(lane.idle) for lane in state.lanes.values())
    return PoolStatistics(
        name=state.name,
        max_size=state.options.max_size,
        open=len(state.members),
        opening=state.opening,
        idle=idle,
        lent=len(state.members) - idle,
        waiting=sum(len(lane.line) for lane in state.lanes.values()),
        leases=state.leases,
        leases_direct=state.leases - state.waited,
        waited_s=state.waited_s,
        timeouts=counts["timeouts"],
        cancelled=counts["cancelled"],
        refused=counts["refused"],
        opened=counts["opened"],
        open_failures=counts["open_failures"],
        opening_s=state.opening_s,
        closed_expired=counts["closed_expired"],
        closed_idle=counts["closed_idle"],
        closed_broken=counts["closed_broken"],
        closed_given_up=counts["closed_given_up"],
        closed_other=counts["closed_other"],
        leaks=counts["leaks"],
    )


def longest_lent_first_locked(state: PoolState[Any]) -> list[Member[Any]]:
    """The connections that somebody uses."""
    lent = [member for member in state.members if member.lent]
    return sorted(lent, key=lambda member: member.leased_s)


def lent_locked(state: PoolState[Any], now_s: float) -> str:
    """Why there is none to have, in a sentence."""
    lent = longest_lent_first_locked(state)
    text = f"{len(lent)} of {state.options.max_size} are lent"
    if lent:
        first = lent[0]
        text += f", one for {now_s - first.leased_s:.3g} s ({who(first.request, first.where)})"
    if state.opening:
        text += f", {state.opening} are being opened"
    return text + "."


def timeout_locked(state: PoolState[Any], waiter: Waiter[Any], now_s: float) -> PoolTimeout:
    """What a request is told that waited in vain."""
    error = PoolTimeout(
        f"No connection of pool {state.name!r} became free within "
        f"{now_s - waiter.arrived_s:.3g} s. {lent_locked(state, now_s)}"
    )
    if state.failures and state.last_error is not None:
        error.__cause__ = state.last_error
    return error
