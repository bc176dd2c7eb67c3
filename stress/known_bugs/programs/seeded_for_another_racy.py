"""Two invocations seed the process's random numbers and draw from each other's."""

import random

KIND = "thread"
RACY = True
DEPTH = 1
GIL_DEPTH = 1
FAILS_BY = "invariant"
TAGS = ("random", "module-global")
SOURCE = "random.seed() per request: one generator for the whole process"


EXPECTED = {seed: random.Random(seed).random() for seed in (1, 2)}


def draw(seed):
    random.seed(seed)
    return random.random()


def make_state():
    return []


def threads(drawn):
    def handle(seed):
        drawn.append((seed, draw(seed)))

    return [lambda: handle(1), lambda: handle(2)]


def invariant(drawn):
    return len(drawn) == 2 and all(number == EXPECTED[seed] for seed, number in drawn)
