"""Owner and thief both take the last job of a work-stealing queue."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("work-stealing", "lock-free")
SOURCE = "SCTBench CB work-stealing queue: owner and thief at the last item"


class Jobs:
    def __init__(self):
        self.lock = threading.Lock()
        self.slots = ["job"]
        self.head = 0
        self.tail = 1
        self.taken = []

    def pop(self):
        if self.head < self.tail:
            self.tail -= 1
            self.taken.append(self.slots[self.tail])

    def steal(self):
        if self.head < self.tail:
            self.head += 1
            self.taken.append(self.slots[self.head - 1])


def make_state():
    return Jobs()


def threads(jobs):
    def alone(take):
        with jobs.lock:
            take()

    return [lambda: alone(jobs.pop), lambda: alone(jobs.steal)]


def invariant(jobs):
    return jobs.taken == ["job"]
