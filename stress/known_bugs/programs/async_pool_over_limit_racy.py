"""Both borrowers see room for one more connection while the first is still opening."""

import asyncio

KIND = "async"
RACY = True
DEPTH = 3
FAILS_BY = "invariant"
TAGS = ("pool", "check-then-act")
SOURCE = "A pool that counts a connection when it is open, not when it begins to open it"


class Pool:
    def __init__(self):
        self.size = 0
        self.open = []
        self.refused = 0

    async def connect(self):
        await asyncio.sleep(0)
        self.open.append("connection")

    async def borrow(self):
        if self.size >= 1:
            self.refused += 1
            return
        await self.connect()
        self.size += 1


def make_state():
    return Pool()


def threads(pool):
    async def late():
        for _ in range(3):
            await asyncio.sleep(0)
        await pool.borrow()

    return [pool.borrow, late]


def invariant(pool):
    return len(pool.open) == 1
