"""A cancelled request gives its permit back twice."""

import asyncio

KIND = "async"
RACY = True
DEPTH = 3
FAILS_BY = "exception"
TAGS = ("semaphore", "cancellation", "cleanup")
SOURCE = "A permit that the `except` and the `finally` both give back"


class State:
    def __init__(self):
        self.permits = asyncio.BoundedSemaphore(1)
        self.task = None
        self.abandoned = 0


async def work(state):
    await state.permits.acquire()
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        state.permits.release()
        state.abandoned += 1
        raise
    finally:
        state.permits.release()


def make_state():
    return State()


def threads(state):
    async def request():
        state.task = asyncio.ensure_future(work(state))
        try:
            await state.task
        except asyncio.CancelledError:
            return

    async def client_leaves():
        for _ in range(4):
            await asyncio.sleep(0)
        if state.task is not None:
            state.task.cancel()

    return [request, client_leaves]


def invariant(state):
    return not state.permits.locked()
