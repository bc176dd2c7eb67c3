"""A connection leaves one set before it is in the next; whoever asks then finds all closed."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("pool", "check-then-act", "shutdown")
SOURCE = "A pool's close() that came back before the last connection had said goodbye"


class Pool:
    def __init__(self):
        self.lock = threading.Lock()
        self.open = {"connection"}
        self.closing = set()
        self.said = []
        self.too_early = False

    def give_back_broken(self):
        with self.lock:
            self.open.discard("connection")
            self.closing.add("connection")
        self.say_goodbye()

    def say_goodbye(self):
        self.said.append("goodbye")
        with self.lock:
            self.closing.discard("connection")

    def close(self):
        with self.lock:
            if not self.open and not self.closing:
                self.too_early = not self.said


def make_state():
    return Pool()


def threads(pool):
    return [pool.give_back_broken, pool.close]


def invariant(pool):
    return not pool.too_early
