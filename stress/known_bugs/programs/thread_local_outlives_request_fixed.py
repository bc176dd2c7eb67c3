"""An anonymous request runs in the thread of the one before, and is taken for it."""

import threading
from concurrent.futures import ThreadPoolExecutor

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("thread-local", "executor", "lambda", "cross-talk")
SOURCE = "A thread-local set for a request in a pool whose threads outlive requests"


class State:
    def __init__(self):
        self.local = threading.local()
        self.seen = []

    def request(self, user):
        self.local.user = user
        self.seen.append((user, getattr(self.local, "user", None)))

    def handle(self):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self.request, ("ann", None)))


def make_state():
    return State()


def threads(state):
    return [state.handle]


def invariant(state):
    return len(state.seen) == 2 and all(asked == got for asked, got in state.seen)
