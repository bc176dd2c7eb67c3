"""The last owner lets go of the session between the look-up and the use."""

import threading
import weakref

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "exception"
TAGS = ("weakref", "cache")
SOURCE = "WeakValueDictionary: asking and taking are two steps, the last reference goes between"


class Session:
    def __init__(self, name):
        self.name = name


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.cache = weakref.WeakValueDictionary()
        self.owner = Session("s1")
        self.cache["s1"] = self.owner
        self.names = []

    def use(self):
        if self.cache.get("s1") is not None:
            session = self.cache["s1"]
            self.names.append(session.name)

    def let_go(self):
        self.owner = None


def make_state():
    return State()


def threads(state):
    return [state.use, state.let_go]


def invariant(state):
    return len(state.names) <= 1
