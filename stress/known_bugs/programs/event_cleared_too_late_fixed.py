"""The consumer clears the event after it looked, and sleeps through the item in between."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "deadlock"
TAGS = ("event", "lost-wakeup")
SOURCE = "An Event used as a condition: clear() after the check loses the set() in between"


class State:
    def __init__(self):
        self.event = threading.Event()
        self.items = []
        self.got = None

    def consume(self):
        while True:
            self.event.clear()
            if len(self.items) > 0:
                self.got = self.items.pop()
                return
            self.event.wait()

    def produce(self):
        self.items.append("item")
        self.event.set()


def make_state():
    return State()


def threads(state):
    return [state.consume, state.produce]


def invariant(state):
    return state.got == "item"
