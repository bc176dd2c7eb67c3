"""The client is visible to others before it has logged in."""

import threading

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "exception"
TAGS = ("double-checked", "lazy-init")
SOURCE = "Double-checked locking that publishes the object before it is complete"


class Client:
    def __init__(self):
        self.token = None

    def login(self):
        self.token = "secret"


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.client = None
        self.headers = []

    def get(self):
        if self.client is None:
            with self.lock:
                if self.client is None:
                    self.client = Client()
                    self.client.login()
        return self.client

    def handle(self):
        self.headers.append("Bearer " + self.get().token)


def make_state():
    return State()


def threads(state):
    return [state.handle, state.handle]


def invariant(state):
    return state.headers == ["Bearer secret", "Bearer secret"]
