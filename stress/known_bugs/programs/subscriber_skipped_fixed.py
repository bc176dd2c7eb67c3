"""A subscriber leaves while the others are told; the one behind it hears nothing."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("iteration", "container")
SOURCE = "A list that shrinks while it is walked: the element after the removed one is passed over"


class Topic:
    def __init__(self):
        self.lock = threading.Lock()
        self.subscribers = ["a", "b", "c"]
        self.told = []

    def tell(self, name):
        self.told.append(name)

    def publish(self):
        with self.lock:
            for name in self.subscribers:
                self.tell(name)

    def leave(self):
        with self.lock:
            self.subscribers.remove("a")


def make_state():
    return Topic()


def threads(topic):
    return [topic.publish, topic.leave]


def invariant(topic):
    return "b" in topic.told and "c" in topic.told
