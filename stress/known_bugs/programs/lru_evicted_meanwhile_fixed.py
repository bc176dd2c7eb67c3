"""A hit moves its key to the end when another thread has just evicted it."""

import threading
from collections import OrderedDict

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "exception"
TAGS = ("cache", "lru")
SOURCE = "An OrderedDict as an LRU cache: get() and move_to_end() are two steps"


class Lru:
    def __init__(self):
        self.lock = threading.RLock()
        self.data = OrderedDict(a=1, b=2)

    def get(self, key):
        value = self.data.get(key)
        if value is not None:
            self.data.move_to_end(key)
        return value

    def put(self, key, value):
        self.data[key] = value
        while len(self.data) > 2:
            self.data.popitem(last=False)


def make_state():
    return Lru()


def threads(lru):
    def hit():
        with lru.lock:
            lru.get("a")

    def miss():
        with lru.lock:
            lru.put("c", 3)

    return [hit, miss]


def invariant(lru):
    return len(lru.data) == 2
