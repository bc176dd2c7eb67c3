"""Balance read in one critical section, debited in the next."""

import threading

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "invariant"
TAGS = ("atomicity", "locks-held")
SOURCE = "SCTBench CS/account_bad: every access is locked, the decision and the deed are not one"


class Account:
    def __init__(self):
        self.lock = threading.Lock()
        self.balance = 100

    def covers(self, amount):
        with self.lock:
            return self.balance >= amount

    def debit(self, amount):
        with self.lock:
            self.balance -= amount

    def withdraw(self, amount):
        if self.covers(amount):
            self.debit(amount)


def make_state():
    return Account()


def threads(account):
    return [lambda: account.withdraw(80), lambda: account.withdraw(70)]


def invariant(account):
    return account.balance >= 0
