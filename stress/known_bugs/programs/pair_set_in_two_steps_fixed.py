"""Two threads set a pair of fields, a third finds only the first of them set."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("torn-read", "3-threads")
SOURCE = "SCTBench CS/reorder_3_bad: two setters and a checker that looks in between"


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.a = 0
        self.b = 0
        self.bad = False

    def set_pair(self):
        with self.lock:
            self.a = 1
            self.b = -1

    def check(self):
        with self.lock:
            if (self.a, self.b) not in ((0, 0), (1, -1)):
                self.bad = True


def make_state():
    return State()


def threads(state):
    return [state.set_pair, state.set_pair, state.check]


def invariant(state):
    return not state.bad
