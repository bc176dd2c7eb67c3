"""The body of one message lands behind the header of another."""

import asyncio

KIND = "async"
RACY = True
DEPTH = 3
FAILS_BY = "invariant"
TAGS = ("stream",)
SOURCE = "Two writers on one connection, with a drain between header and body"


class Wire:
    def __init__(self):
        self.lock = asyncio.Lock()
        self.sent = []

    async def write(self, user):
        self.sent.append("header " + user)
        await asyncio.sleep(0)
        self.sent.append("body " + user)

    async def send(self, user):
        await self.write(user)


def make_state():
    return Wire()


def threads(wire):
    async def one():
        await wire.send("ann")

    async def two():
        for _ in range(3):
            await asyncio.sleep(0)
        await wire.send("bob")

    return [one, two]


def invariant(wire):
    pairs = zip(wire.sent[::2], wire.sent[1::2], strict=True)
    return all(header[7:] == body[5:] for header, body in pairs)
