"""A task on the loop and a job in a thread add to one counter."""

import asyncio
import threading

KIND = "async"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("to-thread", "lost-update", "mixed")
SOURCE = "asyncio.to_thread: the counter of the loop, touched from a worker thread"


def successor(n):
    return n + 1


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.n = 0

    def bump(self):
        with self.lock:
            self.n = successor(self.n)


def make_state():
    return State()


def threads(state):
    async def in_thread():
        await asyncio.to_thread(state.bump)

    async def on_loop():
        await asyncio.sleep(0)
        state.bump()

    return [in_thread, on_loop]


def invariant(state):
    return state.n == 2
