"""An upload buffer may hold two parts; both writers see room for one more."""

import queue
import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("queue", "check-then-act")
SOURCE = "A bound kept by hand with qsize() beside queue.SimpleQueue, which has none"


class Buffer:
    def __init__(self):
        self.lock = threading.Lock()
        self.parts = queue.SimpleQueue()
        self.parts.put("part-0")

    def offer(self, part):
        with self.lock:
            if self.parts.qsize() < 2:
                self.parts.put(part)
                return True
            return False


def make_state():
    return Buffer()


def threads(buffer):
    return [lambda: buffer.offer("part-1"), lambda: buffer.offer("part-2")]


def invariant(buffer):
    return buffer.parts.qsize() <= 2
