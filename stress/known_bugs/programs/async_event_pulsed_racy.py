"""The waiter looks, logs, and waits for a pulse that has passed."""

import asyncio

KIND = "async"
RACY = True
DEPTH = 3
FAILS_BY = "deadlock"
TAGS = ("event", "lost-wakeup")
SOURCE = "asyncio.Event as a pulse: set() and clear() in a row wake only who already waits"


class State:
    def __init__(self):
        self.event = asyncio.Event()
        self.items = []
        self.got = None


async def log():
    await asyncio.sleep(0)


def make_state():
    return State()


def threads(state):
    async def consume():
        while not state.items:
            await log()
            await state.event.wait()
        state.got = state.items.pop()

    async def produce():
        for _ in range(3):
            await asyncio.sleep(0)
        state.items.append("item")
        state.event.set()
        state.event.clear()

    return [consume, produce]


def invariant(state):
    return state.got == "item"
