"""The watchdog declares a request dead that has just answered."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("timer", "late-timer", "nested-threads")
SOURCE = "threading.Timer.cancel() does not call back one that has begun"


class Request:
    def __init__(self):
        self.lock = threading.Lock()
        self.outcomes = []

    def settle(self, outcome):
        with self.lock:
            if not self.outcomes:
                self.outcomes.append(outcome)

    def handle(self):
        watchdog = threading.Timer(3.0, self.settle, ("timed out",))
        watchdog.start()
        self.settle("answered")
        watchdog.cancel()
        watchdog.join()


def make_state():
    return Request()


def threads(request):
    return [request.handle]


def invariant(request):
    return len(request.outcomes) == 1
