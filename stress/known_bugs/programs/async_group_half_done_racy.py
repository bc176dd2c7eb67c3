"""A failing check cancels its sibling between debit and credit."""

import asyncio

KIND = "async"
RACY = True
DEPTH = 4
FAILS_BY = "invariant"
TAGS = ("task-group", "cancellation")
SOURCE = "asyncio.TaskGroup: when one child fails, the others are cancelled wherever they are"


class State:
    def __init__(self):
        self.a = 100
        self.b = 100


async def transfer(state):
    state.a -= 10
    await asyncio.sleep(0)
    state.b += 10


async def check():
    for _ in range(3):
        await asyncio.sleep(0)
    raise ValueError("not allowed")


def make_state():
    return State()


def threads(state):
    async def handle():
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(transfer(state))
                group.create_task(check())
        except* ValueError:
            pass

    return [handle]


def invariant(state):
    return state.a + state.b == 200
