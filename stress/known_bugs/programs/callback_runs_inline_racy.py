"""The callback takes the lock that its caller holds; it runs inline if the job was quick."""

import threading
from concurrent.futures import ThreadPoolExecutor

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "deadlock"
TAGS = ("executor", "callback", "nested-threads")
SOURCE = "Future.add_done_callback runs in the caller, at once, when the future is already done"


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.pending = 0
        self.finished = 0

    def on_done(self, future):
        with self.lock:
            self.finished += 1

    def handle(self):
        with ThreadPoolExecutor(1) as pool, self.lock:
            self.pending += 1
            future = pool.submit(str, 1)
            future.add_done_callback(self.on_done)


def make_state():
    return State()


def threads(state):
    return [state.handle]


def invariant(state):
    return state.finished == 1
