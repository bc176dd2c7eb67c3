"""The token of the request lies where the next request puts its own."""

import asyncio
import contextvars

KIND = "async"
RACY = True
DEPTH = 3
FAILS_BY = "exception"
TAGS = ("contextvars", "cross-talk")
SOURCE = 'ContextVar.reset with a token from a shared object: "was created in a different Context"'


USER = contextvars.ContextVar("user", default=None)


class State:
    def __init__(self):
        self.token = None
        self.seen = []

    async def handle(self, user):
        self.token = USER.set(user)
        await asyncio.sleep(0)
        self.seen.append((user, USER.get()))
        USER.reset(self.token)


def make_state():
    return State()


def threads(state):
    async def one():
        await state.handle("ann")

    async def two():
        for _ in range(3):
            await asyncio.sleep(0)
        await state.handle("bob")

    return [one, two]


def invariant(state):
    return len(state.seen) == 2 and all(asked == got for asked, got in state.seen)
