"""The answer comes when the deadline has already settled the future."""

import asyncio

KIND = "async"
RACY = False
DEPTH = None
FAILS_BY = "exception"
TAGS = ("timer", "late-timer")
SOURCE = "Future.set_result without a look at done(): InvalidStateError when the deadline was first"


class State:
    def __init__(self):
        self.reply = None
        self.outcome = None

    def expire(self):
        if not self.reply.done():
            self.reply.set_exception(TimeoutError())


def make_state():
    return State()


def threads(state):
    async def ask():
        loop = asyncio.get_running_loop()
        state.reply = loop.create_future()
        deadline = loop.call_later(5.0, state.expire)
        try:
            state.outcome = await state.reply
        except TimeoutError:
            state.outcome = "timeout"
        finally:
            deadline.cancel()

    async def answer():
        await asyncio.sleep(1.0)
        if state.reply is None:
            return
        if not state.reply.done():
            state.reply.set_result("answer")

    return [ask, answer]


def invariant(state):
    return state.outcome in ("answer", "timeout")
