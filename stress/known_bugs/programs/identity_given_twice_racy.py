"""`self.last += 1; return self.last` gives the same number to two callers."""

import itertools

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("lost-update",)
SOURCE = "A hand-made number generator where itertools.count would do"


class Ids:
    def __init__(self):
        self.last = 0
        self.numbers = itertools.count(1)
        self.given = []

    def next_id(self):
        self.last += 1
        return self.last

    def handle(self):
        self.given.append(self.next_id())


def make_state():
    return Ids()


def threads(ids):
    return [ids.handle, ids.handle]


def invariant(ids):
    return len(set(ids.given)) == 2
