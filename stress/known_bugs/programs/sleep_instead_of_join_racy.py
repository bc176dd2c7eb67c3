"""The reader sleeps a second and takes for granted that the writer is done by then."""

import threading
import time

KIND = "thread"
RACY = True
DEPTH = 0
GIL_DEPTH = 0
FAILS_BY = "exception"
TAGS = ("sleep", "late-timer")
SOURCE = 'A pause that is "long enough" in place of a join'


def parse(text):
    return int(text)


class State:
    def __init__(self):
        self.done = threading.Event()
        self.limits = {}
        self.seen = None

    def load(self):
        self.limits["cpu"] = parse("4")
        self.limits["memory"] = parse("512")
        self.done.set()

    def use(self):
        time.sleep(1.0)
        self.seen = self.limits["memory"]


def make_state():
    return State()


def threads(state):
    return [state.load, state.use]


def invariant(state):
    return state.seen == 512
