"""The connection is reset with an await before it goes back; a cancellation there loses it."""

import asyncio

KIND = "async"
RACY = True
DEPTH = 3
FAILS_BY = "invariant"
TAGS = ("cancellation", "cleanup", "pool")
SOURCE = "An await in a `finally`: a cancellation that arrives there skips the rest of it"


class State:
    def __init__(self):
        self.in_use = 0
        self.task = None


async def query(state):
    state.in_use += 1
    try:
        await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0)
        state.in_use -= 1


def make_state():
    return State()


def threads(state):
    async def request():
        state.task = asyncio.ensure_future(query(state))
        try:
            await state.task
        except asyncio.CancelledError:
            return

    async def client_leaves():
        for _ in range(5):
            await asyncio.sleep(0)
        if state.task is not None:
            state.task.cancel()

    return [request, client_leaves]


def invariant(state):
    return state.in_use == 0
