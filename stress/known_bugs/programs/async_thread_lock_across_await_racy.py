"""One task awaits with the lock held; the other stops the whole loop waiting for it."""

import asyncio
import threading

KIND = "async"
RACY = True
DEPTH = 3
FAILS_BY = "deadlock"
TAGS = ("lock", "deadlock")
SOURCE = "A threading.Lock held across an await: the next task blocks the loop that would let it go"


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.n = 0

    async def update(self):
        with self.lock:
            seen = self.n
            await asyncio.sleep(0)
            self.n = seen + 1


def make_state():
    return State()


def threads(state):
    async def late():
        for _ in range(3):
            await asyncio.sleep(0)
        await state.update()

    return [state.update, late]


def invariant(state):
    return state.n == 2
