"""What a process does last: the user's hooks, then everything that is still open."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from lmi_runtime import _sync
from lmi_runtime.handlers import run_shutdown_hooks

__all__ = ["Ending", "close_down"]

_LEAST_S = 0.03


@dataclass(frozen=True, slots=True)
class Ending:
    """
    How a process spends its last seconds, in this order. The ninth that is left is for the
    supervisor, who wants its workers gone when the time is up.

    Attributes:
        drain_s: Seconds for what is in flight.
        hooks_s: Seconds for the shutdown hooks, and for closing what is open.
        flush_s: Seconds for the logs.
    """

    drain_s: float
    hooks_s: float
    flush_s: float

    @classmethod
    def within(cls, shutdown_s: float) -> Ending:
        """Share out the seconds from the signal to the end."""
        ninth_s = shutdown_s / 9
        return cls(drain_s=4 * ninth_s, hooks_s=3 * ninth_s, flush_s=ninth_s)


async def close_down(budget_s: float) -> None:
    """
    Run the shutdown hooks, which may still use pools and resources; then close these.

    Args:
        budget_s: Seconds for all of it. Closing gets what the hooks leave, and a moment at least.

    Thread safety: loop thread only.
    """
    until_s = _sync.monotonic() + budget_s
    await run_shutdown_hooks(budget_s)
    # A function that has no pools shall not pay for their import.
    registry = sys.modules.get("lmi_runtime.pools.registry")
    if registry is not None:
        await registry.close_everything(max(_LEAST_S, until_s - _sync.monotonic()))
