"""A waiter looks at the flag, takes the lock and waits for a notification that is gone."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "deadlock"
TAGS = ("condition", "lost-wakeup")
SOURCE = "Condition.wait whose predicate was looked at before the lock was taken"


class State:
    def __init__(self):
        self.cond = threading.Condition()
        self.ready = False
        self.seen = False

    def wait_ready(self):
        with self.cond:
            while not self.ready:
                self.cond.wait()
        self.seen = True

    def become_ready(self):
        with self.cond:
            self.ready = True
            self.cond.notify_all()


def make_state():
    return State()


def threads(state):
    return [state.wait_ready, state.become_ready]


def invariant(state):
    return state.seen
