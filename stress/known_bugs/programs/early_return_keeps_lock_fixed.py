"""A closed table answers at once, and keeps its lock; whoever asks next waits for ever."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "deadlock"
TAGS = ("rlock", "serial-order", "3-threads")
SOURCE = "acquire()/release() with a return between the two, seen only in one serial order"


class Table:
    def __init__(self):
        self.lock = threading.RLock()
        self.closed = False
        self.answers = []

    def look_up(self):
        self.lock.acquire()
        if self.closed:
            self.lock.release()
            self.answers.append(None)
            return
        self.answers.append("row")
        self.lock.release()

    def close(self):
        with self.lock:
            self.closed = True


def make_state():
    return Table()


def threads(table):
    return [table.look_up, table.look_up, table.close]


def invariant(table):
    return len(table.answers) == 2
