"""The module's lock and the session's lock are taken in both orders."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "deadlock"
TAGS = ("deadlock", "import-time-lock", "module-global")
SOURCE = "Lock-order inversion where one of the locks is made when the module is imported"


REGISTRY = {}
REGISTRY_LOCK = threading.Lock()


class Session:
    def __init__(self):
        self.lock = threading.Lock()
        self.closed = False

    def close(self):
        with self.lock:
            self.closed = True
            with REGISTRY_LOCK:
                REGISTRY.pop("s1", None)


def close_all():
    with REGISTRY_LOCK:
        sessions = list(REGISTRY.values())
    for session in sessions:
        session.close()


def make_state():
    REGISTRY.clear()
    session = REGISTRY["s1"] = Session()
    return session


def threads(session):
    return [session.close, close_all]


def invariant(session):
    return session.closed
