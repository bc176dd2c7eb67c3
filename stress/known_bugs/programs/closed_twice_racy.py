"""Both users drop their reference and both find nobody left."""

import threading

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("refcount", "lifetime")
SOURCE = "A reference count: dropping one and looking at what is left are two steps"


class Connection:
    def __init__(self):
        self.lock = threading.Lock()
        self.users = 2
        self.closes = []

    def release(self):
        self.users -= 1
        if self.users == 0:
            self.closes.append("closed")


def make_state():
    return Connection()


def threads(connection):
    return [connection.release, connection.release]


def invariant(connection):
    return connection.closes == ["closed"]
