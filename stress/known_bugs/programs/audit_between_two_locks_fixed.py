"""A transfer debits under one lock and credits under another; an auditor comes in between."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("atomicity", "locks-held")
SOURCE = "SCTBench CS/twostage family: one fact under two locks, taken one after the other"


class Bank:
    def __init__(self):
        self.left = threading.Lock()
        self.right = threading.Lock()
        self.a = 100
        self.b = 100
        self.sums = []

    def transfer(self):
        with self.left, self.right:
            self.a -= 30
            self.b += 30

    def audit(self):
        with self.left, self.right:
            self.sums.append(self.a + self.b)


def make_state():
    return Bank()


def threads(bank):
    return [bank.transfer, bank.audit]


def invariant(bank):
    return bank.sums == [200]
