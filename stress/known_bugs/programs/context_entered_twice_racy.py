"""Both jobs run in the one copy of the context that was made for them."""

import contextvars

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "exception"
TAGS = ("contextvars",)
SOURCE = "contextvars.Context.run: a context can be entered by one thread at a time"


USER = contextvars.ContextVar("user", default=None)


class State:
    def __init__(self):
        self.context = contextvars.copy_context()
        self.users = []

    def look(self):
        self.users.append(USER.get())

    def job(self):
        self.context.run(self.look)


def make_state():
    return State()


def threads(state):
    return [state.job, state.job]


def invariant(state):
    return len(state.users) == 2
