"""The worker looks at an attribute that the constructor has not set yet."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("nested-threads", "publication")
SOURCE = "A constructor that starts a thread of its own before its last line"


class Poller:
    def __init__(self, seen):
        self.seen = seen
        self.thread = threading.Thread(target=self.run)
        self.interval_s = 5
        self.thread.start()

    def run(self):
        self.seen.append(getattr(self, "interval_s", None))


def make_state():
    return []


def threads(seen):
    def handle():
        Poller(seen).thread.join()

    return [handle]


def invariant(seen):
    return seen == [5]
