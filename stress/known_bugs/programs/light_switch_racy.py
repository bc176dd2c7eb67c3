"""A reader counts itself out while another counts itself in; the room is never opened again."""

import threading

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = None
FAILS_BY = "deadlock"
TAGS = ("rwlock", "3-threads")
SOURCE = 'Reader-writer lock ("light switch") whose reader count nobody guards'


class ReadWrite:
    def __init__(self):
        self.count_lock = threading.Lock()
        self.room = threading.Lock()
        self.readers = 0

    def enter(self):
        self.readers += 1
        if self.readers == 1:
            self.room.acquire()

    def leave(self):
        self.readers -= 1
        if self.readers == 0:
            self.room.release()


class State:
    def __init__(self):
        self.guard = ReadWrite()
        self.value = 0
        self.torn = False

    def read(self):
        self.guard.enter()
        first = self.value
        second = self.value
        if first != second:
            self.torn = True
        self.guard.leave()

    def write(self):
        with self.guard.room:
            self.value += 1


def make_state():
    return State()


def threads(state):
    return [state.read, state.read, state.write]


def invariant(state):
    return not state.torn and state.guard.readers == 0 and not state.guard.room.locked()
