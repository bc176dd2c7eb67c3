"""Another consumer takes the item between the notification and the wake-up."""

import asyncio

KIND = "async"
RACY = True
DEPTH = 4
FAILS_BY = "exception"
TAGS = ("condition", "3-tasks")
SOURCE = "`if` in place of `while` around asyncio.Condition.wait"


class State:
    def __init__(self):
        self.cond = asyncio.Condition()
        self.items = []
        self.closed = False
        self.got = []


def make_state():
    return State()


def threads(state):
    async def consume():
        async with state.cond:
            if not state.items and not state.closed:
                await state.cond.wait()
            if state.items or not state.closed:
                state.got.append(state.items.pop())

    async def late():
        for _ in range(6):
            await asyncio.sleep(0)
        await consume()

    async def produce():
        await asyncio.sleep(0)
        async with state.cond:
            state.items.append("item")
            state.cond.notify()
        for _ in range(8):
            await asyncio.sleep(0)
        async with state.cond:
            state.closed = True
            state.cond.notify_all()

    return [consume, late, produce]


def invariant(state):
    return state.got == ["item"]
