"""Every call makes its own lock, so nobody is kept out."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("lock", "wrong-lock")
SOURCE = "SCTBench CS/wronglock: the lock taken is not the lock the others take"


class Stock:
    def __init__(self):
        self.lock = threading.Lock()
        self.left = {"sku": 5}

    def take(self):
        with self.lock:
            self.left["sku"] = self.left.get("sku") - 1


def make_state():
    return Stock()


def threads(stock):
    return [stock.take, stock.take]


def invariant(stock):
    return stock.left["sku"] == 3
