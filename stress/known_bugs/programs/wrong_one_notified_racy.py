"""A consumer wakes the other consumer; the producer that could go on sleeps on."""

import threading

KIND = "thread"
RACY = True
DEPTH = 0
GIL_DEPTH = 0
FAILS_BY = "deadlock"
TAGS = ("condition", "bounded-buffer", "lost-wakeup")
SOURCE = 'One Condition for "not empty" and "not full", and notify() in place of notify_all()'


class Buffer:
    def __init__(self):
        self.cond = threading.Condition()
        self.items = []
        self.got = []

    def wake(self):
        self.cond.notify()

    def put(self, item):
        with self.cond:
            while len(self.items) == 1:
                self.cond.wait()
            self.items.append(item)
            self.wake()

    def get(self):
        with self.cond:
            while not self.items:
                self.cond.wait()
            self.got.append(self.items.pop())
            self.wake()


def make_state():
    return Buffer()


def threads(buffer):
    return [buffer.get, buffer.get, lambda: buffer.put(1), lambda: buffer.put(2)]


def invariant(buffer):
    return sorted(buffer.got) == [1, 2]
