"""A request that was turned away gives back a permit it never had."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "exception"
TAGS = ("semaphore", "cleanup")
SOURCE = "acquire(blocking=False) whose answer the `finally` does not ask about"


class Gate:
    def __init__(self):
        self.permits = threading.BoundedSemaphore(1)
        self.served = 0
        self.refused = 0

    def handle(self):
        admitted = self.permits.acquire(blocking=False)
        try:
            if admitted:
                self.served += 1
            else:
                self.refused += 1
        finally:
            if admitted:
                self.permits.release()


def make_state():
    return Gate()


def threads(gate):
    return [gate.handle, gate.handle]


def invariant(gate):
    return gate.served + gate.refused == 2
