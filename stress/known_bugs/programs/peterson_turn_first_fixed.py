"""Offering the turn before raising the flag lets both into the critical section."""

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("mutex", "spin", "depth2")
SOURCE = "Peterson's algorithm with its two first statements the wrong way round"


class State:
    def __init__(self):
        self.wants = [False, False]
        self.turn = 0
        self.inside = 0
        self.overlap = False

    def run(self, me):
        other = 1 - me
        self.wants[me] = True
        self.turn = other
        while self.wants[other] and self.turn == other:
            continue
        self.inside += 1
        if self.inside != 1:
            self.overlap = True
        self.inside -= 1
        self.wants[me] = False


def make_state():
    return State()


def threads(state):
    return [lambda: state.run(0), lambda: state.run(1)]


def invariant(state):
    return not state.overlap
