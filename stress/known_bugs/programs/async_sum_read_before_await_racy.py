"""Two pages are fetched at once; the sum is read before the await and written after it."""

import asyncio

KIND = "async"
RACY = True
DEPTH = 0
FAILS_BY = "invariant"
TAGS = ("lost-update", "gather")
SOURCE = "`total += await ...` reads the total before it awaits"


class State:
    def __init__(self):
        self.total = 0


async def fetch(page):
    await asyncio.sleep(0)
    return page


def make_state():
    return State()


def threads(state):
    async def add(page):
        state.total += await fetch(page)

    async def handle():
        await asyncio.gather(add(1), add(2))

    return [handle]


def invariant(state):
    return state.total == 3
