"""
The only place that makes locks, events, threads, clocks and counters.

Every other room takes them from here, so that a controlled scheduler can stand in for all of
them at one seam. Functions look their maker up at call time for the same reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmi_runtime._lazy import lazily
from lmi_runtime._sync.clocks import monotonic, sleep, wall_time
from lmi_runtime._sync.counters import Counter
from lmi_runtime._sync.files import Held, LockFile, private_directory, temporary_directory
from lmi_runtime._sync.parking import (
    AsyncParker,
    Home,
    ThreadParker,
    async_parker,
    current_home,
    is_alive,
    running_loop,
)
from lmi_runtime._sync.primitives import (
    Condition,
    Event,
    Lock,
    Queue,
    QueueEmpty,
    QueueFull,
    RLock,
    Semaphore,
    SimpleQueue,
    ThreadLocal,
)
from lmi_runtime._sync.process_wide import ProcessWide
from lmi_runtime._sync.tasks import (
    BackgroundTask,
    bounded,
    is_background,
    limited,
    offload,
    shielded,
    spawn_task,
    spawn_task_on,
)
from lmi_runtime._sync.threads import (
    ContextThread,
    Thread,
    ThreadExceptHookArgs,
    current_thread_id,
    is_main_thread,
    spawn,
    swap_thread_excepthook,
    thread_count,
)

if TYPE_CHECKING:
    from lmi_runtime._sync.executors import ThreadPoolExecutor

__all__ = [
    "AsyncParker",
    "BackgroundTask",
    "Condition",
    "ContextThread",
    "Counter",
    "Event",
    "Held",
    "Home",
    "Lock",
    "LockFile",
    "ProcessWide",
    "Queue",
    "QueueEmpty",
    "QueueFull",
    "RLock",
    "Semaphore",
    "SimpleQueue",
    "Thread",
    "ThreadExceptHookArgs",
    "ThreadLocal",
    "ThreadParker",
    "ThreadPoolExecutor",
    "async_parker",
    "bounded",
    "current_home",
    "current_thread_id",
    "is_alive",
    "is_background",
    "is_main_thread",
    "limited",
    "monotonic",
    "offload",
    "private_directory",
    "running_loop",
    "shielded",
    "sleep",
    "spawn",
    "spawn_task",
    "spawn_task_on",
    "swap_thread_excepthook",
    "temporary_directory",
    "thread_count",
    "wall_time",
]


__getattr__ = lazily(globals(), {"ThreadPoolExecutor": "executors"})
