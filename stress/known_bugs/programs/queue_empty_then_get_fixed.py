"""Two consumers see that one item is there; the one that comes second waits for ever."""

import queue

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "deadlock"
TAGS = ("queue", "check-then-act")
SOURCE = "The queue module's own warning: empty() says nothing about the get() after it"


class State:
    def __init__(self):
        self.jobs = queue.Queue()
        self.jobs.put("job")
        self.done = []

    def drain(self):
        try:
            self.done.append(self.jobs.get_nowait())
        except queue.Empty:
            return


def make_state():
    return State()


def threads(state):
    return [state.drain, state.drain]


def invariant(state):
    return state.done == ["job"]
