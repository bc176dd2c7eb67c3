"""Admit, place, finish: limits, slots, deadlines, the loop. Knows ports, never HTTP."""

from lmi_runtime.dispatch.loop import (
    Dispatcher,
    DispatchHooks,
    DispatchOptions,
    DispatchStatistics,
)
from lmi_runtime.dispatch.slots import Slot

__all__ = [
    "DispatchHooks",
    "DispatchOptions",
    "DispatchStatistics",
    "Dispatcher",
    "Slot",
]
