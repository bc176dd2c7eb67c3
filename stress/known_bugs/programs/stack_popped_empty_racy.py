"""Two workers see one entry and both pop."""

import threading

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "exception"
TAGS = ("check-then-act", "container")
SOURCE = "SCTBench CS/stack_bad: a pop that trusts an earlier look"


class Stack:
    def __init__(self):
        self.lock = threading.Lock()
        self.entries = ["only"]
        self.taken = []

    def take(self):
        if len(self.entries) > 0:
            self.taken.append(self.entries.pop())


def make_state():
    return Stack()


def threads(stack):
    return [stack.take, stack.take]


def invariant(stack):
    return stack.taken == ["only"]
