"""What a process does last: the user's hooks, then everything that is still open."""

from __future__ import annotations

import sys

from lmi_runtime import _sync
from lmi_runtime.handlers import run_shutdown_hooks

__all__ = ["close_down"]

_LEAST_S = 0.03


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
