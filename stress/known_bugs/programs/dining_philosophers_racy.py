"""Three threads in a ring of three locks: each takes its left one, all wait for their right one."""

import threading

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "deadlock"
TAGS = ("deadlock", "3-threads")
SOURCE = "Dijkstra's dining philosophers; SCTBench CS/deadlock family"


class Table:
    def __init__(self):
        self.forks = [threading.Lock(), threading.Lock(), threading.Lock()]
        self.meals = []

    def dine(self, me):
        first, second = self.forks[me], self.forks[(me + 1) % 3]
        with first, second:
            self.meals.append(me)


def make_state():
    return Table()


def threads(table):
    return [lambda: table.dine(0), lambda: table.dine(1), lambda: table.dine(2)]


def invariant(table):
    return sorted(table.meals) == [0, 1, 2]
