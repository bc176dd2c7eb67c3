"""An order is read as new, paid and shipped by others, then cancelled."""

import threading

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "invariant"
TAGS = ("check-then-act", "3-threads")
SOURCE = "A state machine in three hands; two of them must go on inside the window of the third"


class Order:
    def __init__(self):
        self.lock = threading.Lock()
        self.status = "new"
        self.history = []

    def read(self):
        with self.lock:
            return self.status

    def move(self, status):
        with self.lock:
            self.status = status
            self.history.append(status)

    def step(self, before, after):
        with self.lock:
            if self.status == before:
                self.status = after
                self.history.append(after)

    def cancel(self):
        if self.read() == "new":
            self.move("cancelled")


def make_state():
    return Order()


def threads(order):
    return [
        order.cancel,
        lambda: order.step("new", "paid"),
        lambda: order.step("paid", "shipped"),
    ]


def invariant(order):
    return not {"shipped", "cancelled"} <= set(order.history)
