"""The token is fresh when it is looked at and stale when it is sent."""

import threading
import time

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "invariant"
TAGS = ("time", "check-then-act", "late-timer")
SOURCE = "A token that is checked, then used: time passes in between"


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.born_s = time.monotonic()
        self.refused = 0

    def fresh(self):
        return time.monotonic() - self.born_s < 10.0

    def send(self, attempts):
        if self.fresh():
            return True
        if attempts == 0:
            self.refused += 1
        return False

    def call(self):
        if not self.fresh():
            self.born_s = time.monotonic()
        self.send(0)

    def other(self):
        time.sleep(11.0)


def make_state():
    return State()


def threads(state):
    return [state.call, state.other]


def invariant(state):
    return state.refused == 0
