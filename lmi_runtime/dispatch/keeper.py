"""Wakes up when a deadline has to be acted upon."""

from __future__ import annotations

import math
from collections.abc import Callable, Set

import anyio

from lmi_runtime import _sync
from lmi_runtime.dispatch.deadlines import CANCEL_GRACE_S, Act, decide, next_wake
from lmi_runtime.dispatch.slots import Slot

__all__ = ["DeadlineKeeper"]


class DeadlineKeeper:
    """
    One task that looks after the deadlines of every slot.

    Thread safety: loop thread only.
    """

    def __init__(self, slots: Set[Slot], overran: Callable[[Slot, Act], None]) -> None:
        """
        Args:
            slots: What is in flight; a live view, read at each waking.
            overran: Called with a slot and what its deadline asks for.
        """
        self._slots = slots
        self._overran = overran
        self._wake_s = math.inf
        self._sooner = anyio.Event()

    def watch(self, acts_at_s: float) -> None:
        """Note a new slot's deadline."""
        if acts_at_s < self._wake_s:
            self._wake_s = acts_at_s
            self._sooner.set()

    async def run(self) -> None:
        """Act on deadlines until cancelled."""
        while True:
            self._sooner = anyio.Event()
            self._wake_s = next_wake(self._slots)
            with anyio.move_on_after(max(0.0, self._wake_s - _sync.monotonic())):
                await self._sooner.wait()
            now_s = _sync.monotonic()
            for slot in tuple(self._slots):
                self._look_at(slot, now_s)

    def _look_at(self, slot: Slot, now_s: float) -> None:
        if slot.acts_at_s is None or now_s < slot.acts_at_s:
            return
        act = decide(slot)
        # The moment comes again only for code that was told to end, and may not.
        slot.acts_at_s = now_s + CANCEL_GRACE_S if act is Act.CANCEL else None
        if act is not Act.NOTHING:
            self._overran(slot, act)
