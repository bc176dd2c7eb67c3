"""The flag goes up first, the value comes after."""

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "exception"
TAGS = ("spin", "publication")
SOURCE = "Busy waiting for a flag that is raised before what it promises"


def load():
    return {"limit": 3}


class State:
    def __init__(self):
        self.ready = False
        self.config = None
        self.limit = None

    def publish(self):
        self.ready = True
        self.config = load()

    def use(self):
        while not self.ready:
            continue
        self.limit = self.config["limit"]


def make_state():
    return State()


def threads(state):
    return [state.publish, state.use]


def invariant(state):
    return state.limit == 3
