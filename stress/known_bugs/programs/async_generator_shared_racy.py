"""The second task asks for a page while the first one still waits for its own."""

import asyncio

KIND = "async"
RACY = True
DEPTH = 3
FAILS_BY = "exception"
TAGS = ("generator", "shared-iterator")
SOURCE = 'An async generator with two consumers: "asynchronous generator is already running"'


class State:
    def __init__(self):
        self.lock = asyncio.Lock()
        self.pages = self.fetch()
        self.got = []

    async def fetch(self):
        for page in (1, 2, 3):
            await asyncio.sleep(0)
            yield page

    async def take(self):
        self.got.append(await anext(self.pages))


def make_state():
    return State()


def threads(state):
    async def late():
        for _ in range(3):
            await asyncio.sleep(0)
        await state.take()

    return [state.take, late]


def invariant(state):
    return sorted(state.got) == [1, 2]
