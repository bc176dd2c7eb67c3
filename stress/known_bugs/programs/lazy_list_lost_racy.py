"""Both subscribers make the list; the one made first goes, and its subscriber with it."""

import threading

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "invariant"
TAGS = ("lazy-init", "check-then-act")
SOURCE = "`if not hasattr(self, ...)`: an attribute made on first use"


class Bus:
    def __init__(self):
        self.lock = threading.Lock()

    def subscribe(self, name):
        if not hasattr(self, "names"):
            self.names = []
        self.names.append(name)


def make_state():
    return Bus()


def threads(bus):
    return [lambda: bus.subscribe("a"), lambda: bus.subscribe("b")]


def invariant(bus):
    return sorted(bus.names) == ["a", "b"]
