"""A flush walks the registry of counters while another invocation adds one."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "exception"
TAGS = ("iteration", "module-global")
SOURCE = 'A registry walked while it grows: "dictionary changed size during iteration"'


COUNTERS = {}
LOCK = None


def register(name):
    with LOCK:
        COUNTERS[name] = 1


def flush(out):
    with LOCK:
        for name, count in COUNTERS.items():
            out.append(name + "=" + str(count))


def make_state():
    global LOCK
    LOCK = threading.Lock()
    COUNTERS.clear()
    COUNTERS.update(hits=3, misses=1)
    return []


def threads(out):
    return [lambda: flush(out), lambda: register("errors")]


def invariant(out):
    return "hits=3" in out and "errors" in COUNTERS
