"""Two workers draw batches from one generator; the second enters it while the first is inside."""

import threading

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "exception"
TAGS = ("generator", "shared-iterator")
SOURCE = 'A generator handed to several threads: "generator already executing"'


def parse(n):
    return n * 10


def batches():
    for n in range(4):
        yield parse(n)


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.source = batches()
        self.got = []

    def work(self):
        batch = next(self.source)
        self.got.append(batch)


def make_state():
    return State()


def threads(state):
    return [state.work, state.work]


def invariant(state):
    return sorted(state.got) == [0, 10]
