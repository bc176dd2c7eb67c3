"""Each request has its own client, and all clients share one dict of headers."""

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("shared-class-attribute", "lambda", "cross-talk")
SOURCE = "A mutable default on the class, shared by every instance"


class Client:
    def __init__(self):
        self.headers = {}

    def sign(self, user):
        self.headers["user"] = user

    def send(self):
        return self.headers["user"]


def make_state():
    return []


def threads(sent):
    def handle(user):
        client = Client()
        client.sign(user)
        sent.append((user, client.send()))

    return [lambda: handle("ann"), lambda: handle("bob")]


def invariant(sent):
    return len(sent) == 2 and all(asked == got for asked, got in sent)
