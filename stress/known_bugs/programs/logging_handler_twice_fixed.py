"""Both invocations find the logger without a handler and add one."""

import logging
import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("logging", "lambda", "check-then-act")
SOURCE = "`if not logger.handlers: logger.addHandler(...)` in a handler: every line appears twice"


class Lines(logging.Handler):
    def __init__(self, lines):
        super().__init__()
        self.lines = lines

    def emit(self, record):
        self.lines.append(record.getMessage())


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.logger = logging.Logger("orders")
        self.lines = []

    def prepare(self):
        if not self.logger.handlers:
            self.logger.addHandler(Lines(self.lines))

    def handle(self):
        with self.lock:
            self.prepare()


def make_state():
    return State()


def threads(state):
    return [state.handle, state.handle]


def invariant(state):
    state.logger.warning("paid")
    return state.lines == ["paid"]
