"""A transfer debits under one lock and credits under another; an auditor comes in between."""

import threading

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
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
        with self.left:
            self.a -= 30
        with self.right:
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
