"""The audit task of one request writes down the user of the next."""

import asyncio

KIND = "async"
RACY = True
DEPTH = 2
FAILS_BY = "invariant"
TAGS = ("background-task", "lambda", "cross-talk")
SOURCE = "create_task() for something that reads the current request from a shared place later"


class State:
    def __init__(self):
        self.user = None
        self.audited = []


def make_state():
    return State()


def threads(state):
    async def audit(user):
        state.audited.append(state.user)

    async def handle(user):
        state.user = user
        background = asyncio.create_task(audit(user))
        await background

    async def one():
        await handle("ann")

    async def two():
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await handle("bob")

    return [one, two]


def invariant(state):
    return sorted(state.audited) == ["ann", "bob"]
