"""The connection is handed over in the very moment in which the borrower gives up."""

import asyncio

KIND = "async"
RACY = True
DEPTH = 1
FAILS_BY = "invariant"
TAGS = ("timeout", "pool", "late-timer", "cancellation")
SOURCE = "A pool hand-off that crosses a timeout: a result dropped with the CancelledError"


class Pool:
    def __init__(self):
        self.waiting = []
        self.free = []
        self.borrowed = []

    async def borrow(self):
        offer = asyncio.get_running_loop().create_future()
        self.waiting.append(offer)
        try:
            async with asyncio.timeout(5.0):
                self.borrowed.append(await offer)
        except TimeoutError:
            if offer in self.waiting:
                self.waiting.remove(offer)

    def give_back(self, connection):
        while self.waiting:
            offer = self.waiting.pop()
            if not offer.done():
                offer.set_result(connection)
                return
        self.free.append(connection)


def make_state():
    return Pool()


def threads(pool):
    async def returns():
        await asyncio.sleep(1.0)
        pool.give_back("connection")

    return [pool.borrow, returns]


def invariant(pool):
    return pool.borrowed + pool.free == ["connection"]
