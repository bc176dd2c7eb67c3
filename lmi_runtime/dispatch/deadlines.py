"""When to act on deadlines: pure decisions about the slots in flight."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable

from lmi_runtime.dispatch.slots import Slot

__all__ = ["CANCEL_GRACE_S", "Act", "decide", "next_wake"]

CANCEL_GRACE_S = 0.05
"""How long cancelled code may take to clean up before it is answered for, in seconds."""


class Act(enum.Enum):
    """What to do with a slot now."""

    NOTHING = "nothing"
    CANCEL = "cancel"  # ask its code to end; that end settles the slot
    ANSWER = "answer"  # answer for it; its code may go on
    REPORT = "report"  # only say so


def decide(slot: Slot) -> Act:
    """
    Decide about one slot whose moment, `Slot.acts_at_s`, has come.

    Code that can be cancelled is cancelled first, and answered for when its moment comes again,
    after its grace. A thread cannot be cancelled and is answered for at once. A stream that has
    begun is never answered for, as its answer is on the wire already: a task's is cancelled, a
    thread's only reported.
    """
    if slot.left:
        return Act.NOTHING
    if slot.report_only:
        return Act.REPORT
    if slot.cancellable and not slot.cancelling:
        return Act.CANCEL
    if not slot.settled:
        return Act.ANSWER
    return Act.NOTHING if slot.cancelling else Act.REPORT


def next_wake(slots: Iterable[Slot]) -> float:
    """
    The earliest monotonic second at which a slot's moment comes; infinity if none does.

    Scanning what is in flight costs microseconds, about once a time-out. A timer for each
    invocation would cost that much on every one.
    """
    return min((s.acts_at_s for s in slots if s.acts_at_s is not None), default=math.inf)
