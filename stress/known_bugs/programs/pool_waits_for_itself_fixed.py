"""Every worker of the pool waits for a job that no worker is left to do."""

from concurrent.futures import ThreadPoolExecutor

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "deadlock"
TAGS = ("executor", "nested-threads")
SOURCE = "A job that submits to its own ThreadPoolExecutor and waits for the answer"


def fetch(n):
    return n + 1


class State:
    def __init__(self):
        self.answers = []

    def handle(self):
        with ThreadPoolExecutor(2) as pool:

            def page(n):
                return fetch(n)

            self.answers.extend(pool.map(page, (1, 2)))


def make_state():
    return State()


def threads(state):
    return [state.handle]


def invariant(state):
    return state.answers == [2, 3]
