"""Admit, place, finish: limits, slots, deadlines, the loop. Knows ports, never HTTP."""

from lmi_runtime.dispatch.loop import (
    Dispatcher,
    DispatchHooks,
    DispatchOptions,
    DispatchStatistics,
)
from lmi_runtime.dispatch.slots import Slot
from lmi_runtime.dispatch.stall import StallWatchdog

__all__ = [
    "DispatchHooks",
    "DispatchOptions",
    "DispatchStatistics",
    "Dispatcher",
    "Slot",
    "StallWatchdog",
]
