"""Locks, events and queues for threads."""

from __future__ import annotations

import queue
import threading

__all__ = [
    "Condition",
    "Event",
    "Lock",
    "Queue",
    "QueueEmpty",
    "QueueFull",
    "RLock",
    "Semaphore",
    "SimpleQueue",
    "ThreadLocal",
]

Lock = threading.Lock
RLock = threading.RLock
Condition = threading.Condition
Event = threading.Event
Semaphore = threading.Semaphore
ThreadLocal = threading.local
Queue = queue.Queue
QueueEmpty = queue.Empty
QueueFull = queue.Full
SimpleQueue = queue.SimpleQueue
