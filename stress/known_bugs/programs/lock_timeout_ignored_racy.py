"""Whoever waits too long for the lock goes on without it."""

import threading
import time

KIND = "thread"
RACY = True
DEPTH = 0
GIL_DEPTH = 0
FAILS_BY = "invariant"
TAGS = ("timeout", "lock")
SOURCE = "lock.acquire(timeout=...) whose answer nobody looks at"


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.total = 0

    def slow_add(self):
        with self.lock:
            seen = self.total
            time.sleep(2.0)
            self.total = seen + 1

    def add(self):
        held = self.lock.acquire(timeout=1.0)
        self.total += 1
        if held:
            self.lock.release()


def make_state():
    return State()


def threads(state):
    return [state.slow_add, state.add]


def invariant(state):
    return state.total == 2
