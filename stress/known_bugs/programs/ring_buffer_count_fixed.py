"""Producer and consumer each guard their own end; the count belongs to nobody."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("bounded-buffer", "lost-update")
SOURCE = "SCTBench CS/circular_buffer_bad: one count for both ends"


class Ring:
    def __init__(self):
        self.put_lock = threading.Lock()
        self.get_lock = threading.Lock()
        self.lock = threading.Lock()
        self.slots = ["a", None, None]
        self.first = 0
        self.last = 1
        self.count = 1

    def change(self, by):
        with self.lock:
            self.count += by

    def put(self):
        with self.put_lock:
            self.slots[self.last] = "b"
            self.last = (self.last + 1) % 3
            self.change(1)

    def get(self):
        with self.get_lock:
            self.slots[self.first] = None
            self.first = (self.first + 1) % 3
            self.change(-1)


def make_state():
    return Ring()


def threads(ring):
    return [ring.put, ring.get]


def invariant(ring):
    return ring.count == 1
