"""After the rendezvous one worker clears the parts while the other has not read them yet."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "exception"
TAGS = ("barrier",)
SOURCE = "Barrier as a rendezvous: the part is dropped when all arrived, not when all have read"


class State:
    def __init__(self):
        self.met = threading.Barrier(2)
        self.read = threading.Barrier(2)
        self.parts = {}
        self.totals = []

    def work(self, me):
        self.parts[me] = me + 1
        turn = self.met.wait()
        total = self.parts[0] + self.parts[1]
        self.totals.append(total)
        self.read.wait()
        if turn == 0:
            self.parts.clear()


def make_state():
    return State()


def threads(state):
    return [lambda: state.work(0), lambda: state.work(1)]


def invariant(state):
    return state.totals == [3, 3]
