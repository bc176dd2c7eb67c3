"""`lru_cache` guards its own table, not the call: the secret is fetched twice."""

import functools
import threading

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "invariant"
TAGS = ("cache", "stampede")
SOURCE = "functools.lru_cache runs the function once a caller while nobody has finished"


CALLS = []
LOCK = None


@functools.lru_cache
def fetch(name):
    CALLS.append(name)
    return name.upper()


def make_state():
    global LOCK
    LOCK = threading.Lock()
    CALLS.clear()
    fetch.cache_clear()
    return CALLS


def threads(calls):
    def handle():
        return fetch("db-password")

    return [handle, handle]


def invariant(calls):
    return len(calls) == 1
