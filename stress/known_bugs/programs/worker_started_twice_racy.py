"""Both callers find the worker made but not running, and start it."""

import threading

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "exception"
TAGS = ("nested-threads", "lazy-init")
SOURCE = "A background thread that is started on first use"


class Sender:
    def __init__(self):
        self.lock = threading.Lock()
        self.worker = threading.Thread(target=self.run)
        self.started = False
        self.sent = []

    def run(self):
        self.sent.append("batch")

    def ensure_started(self):
        if not self.started:
            self.worker.start()
            self.started = True

    def handle(self):
        self.ensure_started()
        self.worker.join()


def make_state():
    return Sender()


def threads(sender):
    return [sender.handle, sender.handle]


def invariant(sender):
    return sender.sent == ["batch"]
