"""
The interpreter's own locks, threads and clocks, taken before anything replaces them.

Everything the harness needs for itself comes from here, so that it is never scheduled by itself.
"""

from __future__ import annotations

import _thread
import sys
import threading
import time

__all__ = [
    "RawLock",
    "RawRLock",
    "RawRLockType",
    "current_frames",
    "get_ident",
    "monotonic",
    "perf_counter",
    "process_time",
    "sleep",
    "start_thread",
]

RawLock = _thread.allocate_lock
RawRLock = threading.RLock
RawRLockType = _thread.RLock  # what `functools` and others bind directly
current_frames = sys._current_frames
get_ident = _thread.get_ident
start_thread = _thread.start_new_thread
monotonic = time.monotonic
perf_counter = time.perf_counter
process_time = time.process_time
sleep = time.sleep
