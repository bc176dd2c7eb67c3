"""join() returns although the last item is still being worked on."""

import asyncio

KIND = "async"
RACY = True
DEPTH = 1
FAILS_BY = "invariant"
TAGS = ("queue",)
SOURCE = "asyncio.Queue.task_done() called when the item is taken, not when it is dealt with"


class State:
    def __init__(self):
        self.jobs = asyncio.Queue()
        self.done = []
        self.done_at_join = None


def make_state():
    return State()


def threads(state):
    async def worker():
        job = await state.jobs.get()
        state.jobs.task_done()
        await asyncio.sleep(0)
        state.done.append(job)

    async def producer():
        await state.jobs.put("job")
        await state.jobs.join()
        await asyncio.sleep(0)
        state.done_at_join = len(state.done)

    return [worker, producer]


def invariant(state):
    return state.done_at_join == 1
