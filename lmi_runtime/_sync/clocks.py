"""Clocks, in seconds."""

from __future__ import annotations

import time

__all__ = ["monotonic", "sleep", "wall_time"]

monotonic = time.monotonic
"""Seconds that never go back; the clock of every deadline and time-out."""

wall_time = time.time
"""Seconds since the epoch; only for what people or the platform read."""

sleep = time.sleep
"""Block the calling thread for some seconds. Never on a loop thread."""
