"""The commit goes on after its connection was closed."""

import asyncio

KIND = "async"
RACY = True
DEPTH = 4
FAILS_BY = "invariant"
TAGS = ("shield", "cancellation", "lifetime")
SOURCE = "asyncio.shield: what a cancelled caller shielded goes on with what it closed"


class State:
    def __init__(self):
        self.closed = False
        self.used_after_close = False
        self.task = None
        self.commit = None


async def commit(state):
    await asyncio.sleep(0)
    if state.closed:
        state.used_after_close = True


async def save(state):
    state.commit = asyncio.ensure_future(commit(state))
    try:
        await asyncio.shield(state.commit)
    finally:
        state.closed = True


def make_state():
    return State()


def threads(state):
    async def request():
        state.task = asyncio.ensure_future(save(state))
        await asyncio.wait([state.task])
        if state.commit is not None:
            await asyncio.wait([state.commit])

    async def client_leaves():
        for _ in range(5):
            await asyncio.sleep(0)
        if state.task is not None:
            state.task.cancel()

    return [request, client_leaves]


def invariant(state):
    return not state.used_after_close
