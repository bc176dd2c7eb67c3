"""Closing wakes one of the two that wait."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "deadlock"
TAGS = ("condition", "lost-wakeup", "3-threads")
SOURCE = "notify() where everybody waits for the same thing"


class Gate:
    def __init__(self):
        self.cond = threading.Condition()
        self.closed = False
        self.left = []

    def close(self):
        with self.cond:
            self.closed = True
            self.cond.notify_all()

    def wait_closed(self, me):
        with self.cond:
            while not self.closed:
                self.cond.wait()
        self.left.append(me)


def make_state():
    return Gate()


def threads(gate):
    return [gate.close, lambda: gate.wait_closed(1), lambda: gate.wait_closed(2)]


def invariant(gate):
    return sorted(gate.left) == [1, 2]
