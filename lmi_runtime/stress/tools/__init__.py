"""
Write the one interleaving down that a test is about, and have exactly that.

`explore()` looks for the order that breaks something; these make an order that is known already
part of a test. Nothing sleeps: who is not to go on yet waits, and what never comes is an
`AssertionError` that names it.
"""

from __future__ import annotations

from lmi_runtime.stress.tools.lying import LyingLock
from lmi_runtime.stress.tools.queues import TurnNeverCame
from lmi_runtime.stress.tools.schedules import Schedule, async_point, point
from lmi_runtime.stress.tools.turns import Sequencer

__all__ = ["LyingLock", "Schedule", "Sequencer", "TurnNeverCame", "async_point", "point"]
