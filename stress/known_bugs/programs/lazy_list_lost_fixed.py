"""Both subscribers make the list; the one made first goes, and its subscriber with it."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("lazy-init", "check-then-act")
SOURCE = "`if not hasattr(self, ...)`: an attribute made on first use"


class Bus:
    def __init__(self):
        self.lock = threading.Lock()

    def subscribe(self, name):
        with self.lock:
            if not hasattr(self, "names"):
                self.names = []
            self.names.append(name)


def make_state():
    return Bus()


def threads(bus):
    return [lambda: bus.subscribe("a"), lambda: bus.subscribe("b")]


def invariant(bus):
    return sorted(bus.names) == ["a", "b"]
