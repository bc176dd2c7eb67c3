"""Both callers make the key's lock; each holds its own, and one update is lost."""

import threading

KIND = "thread"
RACY = True
DEPTH = 2
GIL_DEPTH = 2
FAILS_BY = "invariant"
TAGS = ("lock", "wrong-lock", "depth2")
SOURCE = "A dict of locks, one a key, filled on first use"


class Tally:
    def __init__(self):
        self.locks_lock = threading.Lock()
        self.locks = {}
        self.votes = {"x": 0}

    def lock_for(self, key):
        lock = self.locks.get(key)
        if lock is None:
            lock = self.locks[key] = threading.Lock()
        return lock

    def vote(self, key):
        with self.lock_for(key):
            self.votes[key] = self.votes.get(key) + 1


def make_state():
    return Tally()


def threads(tally):
    return [lambda: tally.vote("x"), lambda: tally.vote("x")]


def invariant(tally):
    return tally.votes["x"] == 2
