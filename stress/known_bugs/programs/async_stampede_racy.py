"""Two requests miss and both load."""

import asyncio

KIND = "async"
RACY = True
DEPTH = 3
FAILS_BY = "invariant"
TAGS = ("cache", "stampede", "lambda")
SOURCE = "`if key not in cache: cache[key] = await load(key)`"


class Cache:
    def __init__(self):
        self.lock = asyncio.Lock()
        self.data = {}
        self.loads = 0

    async def load(self, key):
        self.loads += 1
        await asyncio.sleep(0)
        return key.upper()

    async def fill(self, key):
        if key not in self.data:
            self.data[key] = await self.load(key)
        return self.data[key]

    async def get(self, key):
        return await self.fill(key)


def make_state():
    return Cache()


def threads(cache):
    async def one():
        await cache.get("k")

    async def two():
        for _ in range(3):
            await asyncio.sleep(0)
        await cache.get("k")

    return [one, two]


def invariant(cache):
    return cache.loads == 1
